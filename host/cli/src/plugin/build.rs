//! `threeport plugin build` and `threeport plugin test`: cargo, told how.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::toolchain::{self, TARGET};

pub(super) const EXAMPLES: &str = "Examples:
  threeport plugin build                       the crate in this folder, into its target folder
  threeport plugin build ../pages --out pages.wasm";
pub(super) const TEST_EXAMPLES: &str = "Examples:
  threeport plugin test
  UPDATE_CASES=1 threeport plugin test         write what comes of the cases; read the diff
  threeport plugin test ../pages -- --nocapture";

/// As the plugins of the repository are built: for speed, a third faster than for size at two percent more bytes; names of functions stay, so that a trap
/// says where.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// Arguments of `plugin build`.
#[derive(Args, Debug)]
pub struct Build {
    /// Folder of the crate
    #[arg(default_value = ".")]
    path: PathBuf,
    /// File of the component [default: NAME.wasm in the crate's target folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Install what is missing to compile for WebAssembly, by rustup or apt-get
    #[arg(long)]
    install: bool,
}

/// Arguments of `plugin test`.
#[derive(Args, Debug)]
pub struct Test {
    /// Folder of the crate
    #[arg(default_value = ".")]
    path: PathBuf,
    /// More arguments for cargo test
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What cargo says of a crate.
struct Crate {
    name: String,
    library: String,
    target: PathBuf,
}

pub(super) fn build(args: &Build) -> Result<()> {
    let about = about(&args.path)?;
    let toolchain = toolchain::find(&args.path, args.install)?;
    let mut cargo = cargo(&args.path);
    cargo.args(["build", "--release", "--lib", "--target", TARGET]).args(&toolchain.arguments).envs(PROFILE);
    cargo.envs(toolchain.environment.iter().copied()).env("RUSTFLAGS", "");
    run(cargo, "build")?;
    let module = about.target.join(TARGET).join("release").join(format!("{}.wasm", about.library));
    let bytes = fs::read(&module)
        .with_context(|| format!("read {}; has {} a library with crate-type cdylib?", module.display(), about.name))?;
    let component =
        threeport_component::encode(&bytes).with_context(|| format!("make a component of {}", module.display()))?;
    let out = args.out.clone().unwrap_or_else(|| about.target.join(format!("{}.wasm", about.name)));
    fs::write(&out, &component).with_context(|| format!("write {}", out.display()))?;
    let shown =
        std::env::current_dir().ok().and_then(|here| out.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(out);
    writeln!(std::io::stdout(), "{}", shown.display())?;
    writeln!(
        std::io::stderr(),
        "{} KiB; push it with `threeport plugin push {}`",
        component.len().div_ceil(1024),
        shown.display()
    )?;
    Ok(())
}

pub(super) fn test(args: &Test) -> Result<()> {
    about(&args.path)?;
    let mut cargo = cargo(&args.path);
    cargo.arg("test").arg("--").args(&args.arguments);
    run(cargo, "test")
}

fn cargo(path: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(path);
    cargo
}

fn run(mut cargo: Command, what: &str) -> Result<()> {
    let status = cargo.stdin(Stdio::null()).status().context("run cargo: is Rust installed? (https://rustup.rs)")?;
    if !status.success() {
        bail!("cargo {what} failed ({status})");
    }
    Ok(())
}

fn about(path: &Path) -> Result<Crate> {
    if !path.join("Cargo.toml").is_file() {
        bail!(
            "there is no Cargo.toml in {}: name the folder of a plugin's crate, or make one with `threeport plugin new`",
            path.display()
        );
    }
    let mut cargo = cargo(path);
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
    let output = cargo.output().context("run cargo: is Rust installed? (https://rustup.rs)")?;
    if !output.status.success() {
        bail!("cargo does not understand the crate in {}", path.display());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read what cargo says of the crate")?;
    let manifest = path.join("Cargo.toml").canonicalize().context("find Cargo.toml")?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let is_here = |package: &&Value| {
        package["manifest_path"]
            .as_str()
            .is_some_and(|path| Path::new(path).canonicalize().is_ok_and(|path| path == manifest))
    };
    let package = packages.iter().find(is_here).with_context(|| {
        format!("{} is a workspace without a package: name the folder of the plugin's crate", path.display())
    })?;
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut libraries = targets
        .filter(|target| target["crate_types"].as_array().is_some_and(|types| types.iter().any(|one| one == "cdylib")));
    let library = libraries.next().and_then(|library| library["name"].as_str()).with_context(|| {
        format!("{} is no plugin: its Cargo.toml has to say [lib] crate-type = [\"cdylib\", \"lib\"]", path.display())
    })?;
    Ok(Crate {
        name: package["name"].as_str().context("the package has no name")?.to_owned(),
        library: library.replace('-', "_"),
        target: PathBuf::from(metadata["target_directory"].as_str().context("cargo names no target folder")?),
    })
}
