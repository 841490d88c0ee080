//! The way of a plugin's author: a kind of one's own, from nothing to Ready, in a folder outside this repository. The commands are those of
//! docs/plugin-guide.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use threeport_tests::{Server, tool};

struct Author<'a> {
    server: &'a Server,
    folder: PathBuf,
    spent: Vec<(String, std::time::Duration)>,
}

impl Author<'_> {
    /// Runs `threeport ARGS` in the author's folder, as the author does.
    fn threeport(&mut self, args: &[&str]) -> Result<String> {
        let (output, took) = self.run(args)?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "threeport {}: {stderr}{stdout}", args.join(" "));
        self.spent.push((args.join(" "), took));
        Ok(stdout.into_owned())
    }

    fn run(&self, args: &[&str]) -> Result<(std::process::Output, std::time::Duration)> {
        let start = Instant::now();
        let mut command = Command::new(tool("THREEPORT")?);
        command.args(args).current_dir(&self.folder).env("KUBECONFIG", self.server.kubeconfig());
        // What is compiled for an author's crate is kept for the next run of this test, beside what is compiled for the tests.
        let kept = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        command.env("CARGO_TARGET_DIR", kept.join("author"));
        // cargo tells its tests which toolchain and which package they are of: an author's shell does not.
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") {
                command.env_remove(&key);
            }
        }
        Ok((command.output().context("start threeport")?, start.elapsed()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// Lines that are neither empty nor comments.
fn lines(path: &Path) -> Result<usize> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let counts =
        |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//") && !line.trim().starts_with('#');
    Ok(text.lines().filter(counts).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_ones_own_comes_from_nothing_to_ready_and_to_its_next_version() -> Result<()> {
    let server = Server::start().await?;
    let place = tempfile::tempdir()?;
    ensure!(!place.path().starts_with(root()), "the author's folder lies in this repository");
    let began = Instant::now();
    let mut author = Author { server: &server, folder: place.path().to_owned(), spent: Vec::new() };
    let sdk = root().join("sdk");
    author.threeport(&["plugin", "new", "pages", "--sdk", sdk.to_str().context("a path that is not UTF-8")?])?;
    author.folder = place.path().join("pages");
    // The versions of this repository: what the registry has today is not what is tested.
    fs::copy(root().join("Cargo.lock"), author.folder.join("Cargo.lock"))?;
    author.threeport(&["plugin", "test"])?;
    let built = author.threeport(&["plugin", "build", "--out", "pages.wasm"])?;
    ensure!(built.trim() == "pages.wasm", "{built}");
    // It asks for something: that is shown, with the flag that approves it.
    let (refused, _) = author.run(&["plugin", "push", "pages.wasm"])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(said.contains("apply, delete of ConfigMap (core)") && said.contains("--approve-grants"), "{said}");
    let serves = author.threeport(&["plugin", "push", "pages.wasm", "--approve-grants"])?;
    ensure!(serves.starts_with("plugin pages serves version 0.1.0 (sha256:"), "{serves}");
    let applied = author.threeport(&["apply", "-f", "examples/object.yaml", "--wait"])?;
    ensure!(applied == "page.example.org/hello created\npage.example.org/hello is Ready\n", "{applied}");
    let took = began.elapsed();
    let table = author.threeport(&["get", "pages"])?;
    let row: Vec<&str> = table.lines().nth(1).context("a row")?.split_whitespace().collect();
    ensure!(row[..4] == ["hello", "12", "True", "Kept"], "{table}");

    // The next version, under the object that is there.
    let code = author.folder.join("src/lib.rs");
    let text = fs::read_to_string(&code)?;
    ensure!(text.contains("the text is kept here"));
    fs::write(&code, text.replace("the text is kept here", "the text is kept better"))?;
    let manifest = author.folder.join("Cargo.toml");
    fs::write(&manifest, fs::read_to_string(&manifest)?.replace("0.1.0", "0.2.0"))?;
    author.threeport(&["plugin", "build", "--out", "pages.wasm"])?;
    let swapped = author.threeport(&["plugin", "swap", "pages.wasm"])?;
    ensure!(swapped.starts_with("plugin pages serves version 0.2.0"), "{swapped}");
    let better = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}=the text is kept better";
    author.threeport(&["wait", "page/hello", "--for", better])?;
    let back = author.threeport(&["plugin", "rollback", "pages"])?;
    ensure!(back.starts_with("plugin pages serves version 0.1.0"), "{back}");

    let files = [
        "Cargo.toml",
        "crd.yaml",
        "src/lib.rs",
        "tests/cases.rs",
        "tests/cases/kept.yaml",
        "tests/cases/published.yaml",
    ];
    let counted =
        files.iter().map(|file| Ok((*file, lines(&author.folder.join(file))?))).collect::<Result<Vec<_>>>()?;
    let total: usize = counted.iter().map(|(_, lines)| lines).sum();
    println!("from nothing to Ready in {:.1} s, with {total} lines: {counted:?}", took.as_secs_f64());
    for (command, took) in &author.spent {
        println!("{:8.1} s  threeport {command}", took.as_secs_f64());
    }
    Ok(())
}
