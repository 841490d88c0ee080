//! The laws that a command can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Which workspace crates each crate may use: the picture of ARCHITECTURE.md. What is not here is not allowed.
fn picture() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        (
            "threeport",
            BTreeSet::from([
                "threeport-api",
                "threeport-cli",
                "threeport-collector",
                "threeport-controller",
                "threeport-scheduler",
                "threeport-store",
                "threeport-wasm",
            ]),
        ),
        ("threeport-api", BTreeSet::from(["threeport-store", "threeport-scheduler"])),
        ("threeport-cli", BTreeSet::from(["threeport-kube", "threeport-component"])),
        ("threeport-collector", BTreeSet::from(["threeport-store", "threeport-scheduler"])),
        ("threeport-component", BTreeSet::new()),
        (
            "threeport-controller",
            BTreeSet::from(["threeport-store", "threeport-scheduler", "threeport-wasm", "threeport-kube"]),
        ),
        ("threeport-kube", BTreeSet::new()),
        ("threeport-scheduler", BTreeSet::new()),
        ("threeport-store", BTreeSet::new()),
        ("threeport-wasm", BTreeSet::new()),
        ("threeport-sdk", BTreeSet::from(["threeport-sdk-macros"])),
        ("threeport-sdk-macros", BTreeSet::new()),
        ("threeport-test-postgres", BTreeSet::new()),
        ("threeport-tests", BTreeSet::from(["threeport-test-postgres"])),
    ])
}

#[test]
fn arrows_point_one_way() {
    let metadata =
        MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata");
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let picture = picture();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let in_plugins = package.manifest_path.starts_with(root().join("plugins"))
            || package.manifest_path.starts_with(root().join("tests/components"));
        let allowed = match picture.get(name) {
            Some(allowed) => allowed.clone(),
            None if in_plugins => BTreeSet::from(["threeport-sdk"]),
            None => {
                wrong.push(format!("{name} is not in the picture"));
                continue;
            }
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if dependency.kind == DependencyKind::Normal && members.contains(used) && !allowed.contains(used) {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "arrows that the picture does not have");
}

#[test]
fn a_heavy_dependency_is_named_in_one_manifest() {
    let metadata =
        MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata");
    for heavy in ["axum", "sqlx", "async-nats", "wasmtime", "kube"] {
        let users: Vec<&str> = metadata
            .workspace_packages()
            .into_iter()
            .filter(|package| package.manifest_path.starts_with(root().join("host")))
            .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == heavy))
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(users.len(), 1, "{heavy} is named by {users:?}");
    }
}

/// Files with one of these extensions under `dir`.
fn sources(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("read a source directory") {
        let path = entry.expect("read an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

#[test]
fn the_host_names_no_kind_of_a_plugin() {
    let mut files = Vec::new();
    sources(&root().join("host"), "rs", &mut files);
    let mut named = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches"))
    {
        let text = fs::read_to_string(file).expect("read a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in ["Cluster", "Ingress", "Issuer", "Certificate", "RpcNode", "Workload", "Stack"] {
            let names = |line: &str| line.contains(&format!("\"{kind}\""));
            if code.lines().any(|line| !line.trim_start().starts_with("//") && names(line)) {
                named.push(format!("{}: {kind}", file.display()));
            }
        }
    }
    assert_eq!(named, Vec::<String>::new(), "law 4: the host knows no kind");
}

#[test]
fn files_can_be_read_in_a_sitting() {
    let mut files = Vec::new();
    for dir in ["host", "plugins", "sdk", "tests"] {
        sources(&root().join(dir), "rs", &mut files);
    }
    sources(&root().join("deploy"), "go", &mut files);
    let long: Vec<String> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).expect("read a source file").lines().count()))
        .filter(|(_, lines)| *lines > 800)
        .map(|(file, lines)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn every_decision_is_listed() {
    let dir = root().join("docs/adr");
    let index = fs::read_to_string(dir.join("README.md")).expect("read the index");
    let mut records = Vec::new();
    sources(&dir, "md", &mut records);
    for record in records {
        let name = record.file_name().and_then(|name| name.to_str()).expect("a record's name").to_owned();
        assert!(name == "README.md" || index.contains(&name), "docs/adr/README.md does not list {name}");
    }
}
