//! How to compile for WebAssembly here: the toolchain's own target; Debian's compiler with its sources of the standard library; rustup, if it can be reached.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What plugins are compiled for.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler for WebAssembly, and what it needs.
const DEBIAN: [&str; 4] = ["rustc-web", "rust-web-src", "libstd-rust-web-dev", "lld-19"];

/// What cargo is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Toolchain {
    pub(super) arguments: Vec<&'static str>,
    pub(super) environment: Vec<(&'static str, &'static str)>,
}

/// The first of them that is there; what is missing is installed only if that is asked for.
pub(super) fn find(path: &Path, install: bool) -> Result<Toolchain> {
    if has_target(path) {
        return Ok(Toolchain::default());
    }
    if debian_missing().is_some_and(|missing| missing.is_empty()) {
        return Ok(debian());
    }
    if !install {
        let apt = match debian_missing() {
            Some(missing) => format!(", or `apt-get install {}`", missing.join(" ")),
            None => String::new(),
        };
        bail!(
            "this Rust cannot compile for {TARGET} yet: run `rustup target add {TARGET}`{apt}, or let --install do it"
        );
    }
    if succeeds(Command::new("rustup").args(["target", "add", TARGET]).current_dir(path)) && has_target(path) {
        return Ok(Toolchain::default());
    }
    let missing = debian_missing().with_context(|| format!("rustup could not add {TARGET}, and this is no Debian"))?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "--no-install-recommends"]).args(&missing).env("DEBIAN_FRONTEND", "noninteractive");
    // What it prints is progress.
    let status = apt.stdin(Stdio::null()).stdout(Stdio::null()).status().context("run apt-get")?;
    if !status.success() {
        bail!(
            "rustup could not add {TARGET}, and apt-get could not install {}: try that by hand, as root",
            missing.join(" ")
        );
    }
    Ok(debian())
}

/// The standard library is compiled from Debian's sources, which fit Debian's compiler only; cargo stays the one that is there.
fn debian() -> Toolchain {
    Toolchain {
        arguments: vec!["-Zbuild-std=std,panic_abort"],
        environment: vec![
            ("RUSTC", "/usr/bin/rustc"),
            ("RUSTC_BOOTSTRAP", "1"),
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19"),
        ],
    }
}

/// Whether the toolchain that is used in this folder has the target.
fn has_target(path: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(path).output();
    output.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// Debian packages that are not installed; None: this is no Debian.
fn debian_missing() -> Option<Vec<&'static str>> {
    let installed = |package: &&str| {
        let output = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).contains("ok installed"))
    };
    installed(&DEBIAN[0]).ok()?;
    Some(DEBIAN.into_iter().filter(|package| !installed(package).unwrap_or(false)).collect())
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
