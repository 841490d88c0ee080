//! The local Kubernetes that `tests/run` brought up, with a namespace for each test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Kubectl;

/// The target of the tests.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    /// kubectl for it.
    pub kubectl: Kubectl,
}

impl Cluster {
    /// The cluster.
    ///
    /// # Errors
    /// When `tests/run` did not say where it is.
    pub fn connect() -> Result<Self> {
        let kubeconfig = crate::tool("LOCALKUBE_KUBECONFIG")?;
        let kubectl = Kubectl::new(&kubeconfig)?;
        Ok(Self { kubeconfig, kubectl })
    }

    /// The cluster, with a new namespace `name` in it.
    ///
    /// # Errors
    /// When it is not up.
    pub fn with_namespace(name: &str) -> Result<Self> {
        let cluster = Self::connect()?;
        cluster.kubectl.run(&["create", "namespace", name])?;
        Ok(cluster)
    }

    /// Makes an image `name` whose page says `text` (busybox httpd on port 8080) and imports it into the cluster. With `delay`, the server starts
    /// to listen that many seconds after its container: a pod that runs long before it is ready.
    ///
    /// # Errors
    /// When localkube refuses.
    pub fn image(&self, name: &str, text: &str, delay: u32) -> Result<()> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let script = dir.path().join("web.sh");
        let content = format!(
            "#!/bin/sh\nmkdir -p /www\necho '{text}' >/www/index.html\ntrap 'exit 0' TERM\n\
             (sleep {delay}; exec httpd -f -p 8080 -h /www) &\nwait\n"
        );
        std::fs::write(&script, content).context("write the script")?;
        let output = Command::new(crate::tool("LOCALKUBE")?)
            .args(["image", "build", name, "--entrypoint", "/bin/sh,/web.sh", "--name", &crate::cluster_name()?])
            .args(["sh", "httpd", "mkdir", "sleep"].map(|applet| format!("/bin/busybox:/bin/{applet}")))
            .arg(format!("{}:/web.sh", script.display()))
            .output()
            .context("start localkube")?;
        ensure!(output.status.success(), "localkube image build: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The page that a Service serves, through the API server's proxy.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn page(&self, namespace: &str, service: &str) -> Result<String> {
        self.kubectl.run(&["get", "--raw", &format!("/api/v1/namespaces/{namespace}/services/{service}/proxy/")])
    }
}
