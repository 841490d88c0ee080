//! `threeport plugin new`: a crate with a kind of one's own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

pub(super) const EXAMPLES: &str = "Examples:
  threeport plugin new pages
  threeport plugin new pages --kind Page --group pages.example.org
  threeport plugin new pages --sdk ../threeport/sdk";

/// Where the SDK comes from when no copy of it is here.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Arguments of `plugin new`.
#[derive(Args, Debug)]
pub struct New {
    /// Name of the crate, of the plugin and of the folder that is made here: a-z, 0-9 and -
    name: String,
    /// The kind that it serves [default: the name in CamelCase, without a plural's s]
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// API group of the kind: a domain of yours
    #[arg(long, value_name = "GROUP", default_value = "example.org")]
    group: String,
    /// Folder of the SDK's crate [default: that of the repository this program was built from, if it is still there; otherwise the published repository]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// Folder to make instead of ./NAME
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// The files of the template: where they go, and what is in them.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../../../../sdk/template/Cargo.toml.in")),
    (".gitignore", include_str!("../../../../sdk/template/gitignore.in")),
    ("README.md", include_str!("../../../../sdk/template/README.md.in")),
    ("crd.yaml", include_str!("../../../../sdk/template/crd.yaml.in")),
    ("src/lib.rs", include_str!("../../../../sdk/template/src/lib.rs.in")),
    ("tests/cases.rs", include_str!("../../../../sdk/template/tests/cases.rs.in")),
    ("tests/cases/kept.yaml", include_str!("../../../../sdk/template/tests/cases/kept.yaml.in")),
    ("tests/cases/published.yaml", include_str!("../../../../sdk/template/tests/cases/published.yaml.in")),
    ("examples/object.yaml", include_str!("../../../../sdk/template/examples/object.yaml.in")),
];

pub(super) fn new(args: &New) -> Result<()> {
    let label = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.len() <= 63
            && text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-')
    };
    if !label(&args.name) {
        bail!(
            "{:?} cannot be the name of a plugin: it has to begin with a letter, and be made of a-z, 0-9 and -",
            args.name
        );
    }
    if !args.group.contains('.') || !args.group.split('.').all(label) || args.group.ends_with("k8s.io") {
        bail!("--group {:?} cannot be a group of yours: give a domain, like pages.example.org", args.group);
    }
    let kind = args.kind.clone().unwrap_or_else(|| camel(&args.name));
    if !kind.starts_with(|first: char| first.is_ascii_uppercase())
        || !kind.chars().all(|char| char.is_ascii_alphanumeric())
    {
        bail!(
            "--kind {kind:?} cannot be a kind: it has to begin with a capital letter, and be made of letters and digits"
        );
    }
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if folder.exists() {
        bail!("{} is there already: choose another name, or another folder with --path", folder.display());
    }
    let singular = kind.to_lowercase();
    let values = [
        ("{{name}}", args.name.clone()),
        ("{{crate}}", args.name.replace('-', "_")),
        ("{{kind}}", kind.clone()),
        ("{{singular}}", singular.clone()),
        ("{{plural}}", plural(&singular)),
        ("{{group}}", args.group.clone()),
        ("{{sdk}}", sdk(args.sdk.as_deref())?),
    ];
    for (file, template) in FILES {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        let text = values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    writeln!(std::io::stdout(), "{} serves {kind} ({}/v1)", folder.display(), args.group)?;
    writeln!(
        std::io::stderr(),
        "next: cd {}, threeport plugin test, threeport plugin build; README.md there has the rest",
        folder.display()
    )?;
    Ok(())
}

/// The dependency on the SDK: a folder that is here, or the published repository.
fn sdk(given: Option<&Path>) -> Result<String> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
    let place = match given {
        Some(place) if place.join("Cargo.toml").is_file() => Some(place),
        Some(place) => {
            bail!("--sdk {}: there is no Cargo.toml; give the folder sdk of a clone of {REPOSITORY}", place.display())
        }
        None => Some(built_from.as_path()).filter(|place| place.join("Cargo.toml").is_file()),
    };
    Ok(match place {
        Some(place) => {
            let place = place.canonicalize().with_context(|| format!("find {}", place.display()))?;
            format!("path = {:?}", place.display().to_string())
        }
        None => format!("git = {:?}, tag = {:?}", REPOSITORY, concat!("v", env!("CARGO_PKG_VERSION"))),
    })
}

/// `rpc-nodes` → `RpcNode`
fn camel(name: &str) -> String {
    let words = name.split('-').filter(|word| !word.is_empty());
    let kind: String = words.map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    match kind.strip_suffix('s').filter(|kind| kind.len() > 1 && !kind.ends_with('s')) {
        Some(singular) => singular.to_owned(),
        None => kind,
    }
}

/// `ingress` → `ingresses`, `policy` → `policies`
fn plural(singular: &str) -> String {
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| singular.ends_with(end));
    match singular.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        Some(stem) => format!("{stem}ies"),
        None if hisses => format!("{singular}es"),
        None => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: &str, folder: &Path) -> New {
        New {
            name: name.to_owned(),
            kind: None,
            group: "example.org".to_owned(),
            sdk: None,
            path: Some(folder.join(name)),
        }
    }

    #[test]
    fn kinds_and_plurals_are_made_from_the_name() {
        for (name, kind, plurals) in [
            ("pages", "Page", "pages"),
            ("rpc-nodes", "RpcNode", "rpcnodes"),
            ("ingress", "Ingress", "ingresses"),
            ("policy", "Policy", "policies"),
        ] {
            assert_eq!((camel(name).as_str(), plural(&camel(name).to_lowercase()).as_str()), (kind, plurals));
        }
    }

    #[test]
    fn nothing_of_the_template_is_left_open_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a directory");
        new(&args("pages", folder.path())).expect("written");
        for (file, _) in FILES {
            let text = fs::read_to_string(folder.path().join("pages").join(file)).expect(file);
            assert!(!text.contains("{{"), "{file}: {text}");
        }
        let error = new(&args("pages", folder.path())).expect_err("there").to_string();
        assert!(error.contains("there already"), "{error}");
    }

    #[test]
    fn names_that_the_server_would_refuse_are_refused_here() {
        let folder = tempfile::tempdir().expect("a directory");
        for name in ["Pages", "9pages", "a_b", "-a", ""] {
            assert!(new(&args(name, folder.path())).is_err(), "{name}");
        }
        for group in ["local", "apps.k8s.io", "A.b"] {
            let error =
                new(&New { group: group.to_owned(), ..args("pages", folder.path()) }).expect_err(group).to_string();
            assert!(error.contains("--group"), "{error}");
        }
        let wrong = new(&New { sdk: Some("/nowhere".into()), ..args("pages", folder.path()) }).expect_err("no SDK");
        assert!(wrong.to_string().contains("--sdk"), "{wrong}");
    }
}
