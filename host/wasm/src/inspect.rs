//! What a component is built for, read before anything of it is compiled.

use wit_component::DecodedWasm;

use crate::LoadError;
use crate::contract::{PACKAGE, VERSION};

/// Refuses what is no component, what was built for another contract, and what imports anything but the contract.
pub(crate) fn contract(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.get(..8) {
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => {}
        Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => {
            return Err(LoadError::NotAComponent("it is a core module".into()));
        }
        _ => return Err(LoadError::NotAComponent("it does not begin like WebAssembly".into())),
    }
    let decoded = wit_component::decode(bytes).map_err(|error| LoadError::NotAComponent(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(LoadError::NotAComponent("it is a package of WIT interfaces".into()));
    };
    let world = &resolve.worlds[world];
    let wanted = format!("{PACKAGE}@{VERSION}");
    let mut exported = None;
    for key in world.exports.keys() {
        let name = resolve.name_world_key(key);
        if let Some(found) = other_version(&name) {
            return Err(LoadError::WrongContract { wanted, found });
        }
        if name.starts_with(&format!("{PACKAGE}/guest@")) {
            exported = Some(name);
        }
    }
    for key in world.imports.keys() {
        let name = resolve.name_world_key(key);
        if let Some(found) = other_version(&name) {
            return Err(LoadError::WrongContract { wanted, found });
        }
        if !name.starts_with(&format!("{PACKAGE}/")) {
            return Err(LoadError::ForbiddenImport { import: name, allowed: wanted });
        }
    }
    if exported.is_none() {
        let names: Vec<_> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        let found = if names.is_empty() {
            "a world without exports".into()
        } else {
            format!("a world that exports {}", names.join(", "))
        };
        return Err(LoadError::WrongContract { wanted, found });
    }
    Ok(())
}

/// `threeport:reconciler@9.9.9` when the interface is of our package and of another version of it.
fn other_version(interface: &str) -> Option<String> {
    let (path, version) = interface.split_once('@')?;
    let package = path.split('/').next()?;
    (package == PACKAGE && !compatible(version)).then(|| format!("{package}@{version}"))
}

/// As the linker sees it: the same major, or the same minor below 1.0.
fn compatible(version: &str) -> bool {
    let line = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        parts.next()??;
        Some(if major == 0 { (0, minor) } else { (major, 0) })
    };
    line(version).is_some_and(|found| Some(found) == line(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compatible_as_the_linker_sees_them() {
        assert!(compatible("0.1.0") && compatible("0.1.9"));
        assert!(!compatible("0.2.0") && !compatible("1.0.0") && !compatible("0.1.0-rc.1") && !compatible("x"));
    }

    #[test]
    fn what_is_not_a_component_is_named() {
        let reason = |bytes: &[u8]| contract(bytes).unwrap_err().to_string();
        assert!(reason(b"hello, world").contains("does not begin like WebAssembly"));
        assert!(reason(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(reason(b"").contains("does not begin like WebAssembly"));
        assert!(reason(b"\0asm\x0d\0\x01\0garbage").contains("not a WebAssembly component"));
    }
}
