//! kubectl, as a user runs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// kubectl 1.37 with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// kubectl for the server or cluster that `kubeconfig` names.
    ///
    /// # Errors
    /// When `tests/run` did not say where kubectl is.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self { program: crate::tool("KUBECTL")?, kubeconfig: kubeconfig.to_owned() })
    }

    /// Runs it and gives whatever came of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl")?;
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).context("write to kubectl")?;
        }
        child.wait_with_output().context("wait for kubectl")
    }

    /// Runs it and gives its output.
    ///
    /// # Errors
    /// When it exits with anything but 0; says its stderr.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        Self::success(args, self.output(args, None)?)
    }

    /// `kubectl apply -f -`
    ///
    /// # Errors
    /// When it exits with anything but 0; says its stderr.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let args = ["apply", "-f", "-"];
        Self::success(&args, self.output(&args, Some(manifest))?)
    }

    /// `kubectl get ... -o json`
    ///
    /// # Errors
    /// When there is no such object.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend_from_slice(args);
        serde_json::from_str(&self.run(&all)?).context("parse what kubectl printed")
    }

    fn success(args: &[&str], output: Output) -> Result<String> {
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {stderr}{stdout}", args.join(" "));
        Ok(stdout.into_owned())
    }
}
