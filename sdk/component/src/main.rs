//! `threeport-component MODULE.wasm COMPONENT.wasm`

use std::env::args_os;
use std::fs;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let mut args = args_os().skip(1);
    let (Some(module), Some(component), None) = (args.next(), args.next(), args.next()) else {
        anyhow::bail!("usage: threeport-component MODULE.wasm COMPONENT.wasm");
    };
    let bytes = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    fs::write(&component, threeport_component::encode(&bytes)?)
        .with_context(|| format!("write {}", component.display()))
}
