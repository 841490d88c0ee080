//! Components that no compiler would make: real ones with parts added by hand, a byte at a time.
#![allow(dead_code, unreachable_pub, reason = "each test binary includes it and uses a part of it")]

/// A number as the binary format writes it.
pub fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [leb(items.len()), items.concat()].concat()
}

/// A core module of these sections.
pub fn module(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    sections.iter().for_each(|(id, body)| bytes.extend(section(*id, body)));
    bytes
}

/// A core module with functions of these bodies, from nothing to nothing, and what else it has before them.
pub fn module_of(bodies: &[Vec<u8>], others: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut sections = vec![(1, vec![1, 0x60, 0, 0]), (3, vector(&vec![vec![0]; bodies.len()]))];
    sections.extend(others.iter().cloned());
    sections
        .push((10, vector(&bodies.iter().map(|body| [leb(body.len()), body.clone()].concat()).collect::<Vec<_>>())));
    module(&sections)
}

/// A table of functions that begins with so many entries.
pub fn table(entries: usize) -> (u8, Vec<u8>) {
    (4, [vec![1, 0x70, 0], leb(entries)].concat())
}

/// A memory that begins with so many pages.
pub fn memory(pages: usize) -> (u8, Vec<u8>) {
    (5, [vec![1, 0], leb(pages)].concat())
}

/// The first function runs at instantiation.
pub fn start() -> (u8, Vec<u8>) {
    (8, vec![0])
}

/// The component with one more core module, and so many instances of it.
pub fn with_module(component: &[u8], module: &[u8], instances: usize) -> Vec<u8> {
    let mut forged = [component, &section(1, module)[..]].concat();
    let instance = [vec![0], leb(modules(component)), vec![0]].concat();
    if instances > 0 {
        forged.extend(section(2, &vector(&vec![instance; instances])));
    }
    forged
}

/// How many core modules a component has at its top.
fn modules(component: &[u8]) -> usize {
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += usize::from(component[at] == 1);
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
    }
    modules
}

/// A module whose functions take a compiler long: many values that all live to the end, over many branches.
pub fn bomb(functions: usize, branches: usize) -> Vec<u8> {
    const LOCALS: usize = 2000;
    let mut body = [vec![1], leb(LOCALS), vec![0x7e]].concat();
    for branch in 0..branches {
        let (one, two) = (leb(branch * 7 % LOCALS), leb(branch * 13 % LOCALS));
        // local.get two, i64.eqz, if: local one = (one * two) ^ other; end
        body.push(0x20);
        body.extend(&two);
        body.extend([0x50, 0x04, 0x40, 0x20]);
        body.extend(&one);
        body.push(0x20);
        body.extend(&two);
        body.extend([0x7e, 0x20]);
        body.extend(leb(branch * 31 % LOCALS));
        body.extend([0x85, 0x21]);
        body.extend(&one);
        body.push(0x0b);
    }
    body.push(0x0b);
    module_of(&vec![body; functions], &[])
}
