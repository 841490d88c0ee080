package cluster

import (
	"encoding/base64"
	"fmt"
	"os"
)

// cniDir is where Debian keeps the CNI plugins.
const cniDir = "/usr/lib/cni"

// writeConfig writes every configuration file that a component reads. The certificates must be there.
func (c Cluster) writeConfig() error {
	for _, dir := range []string{"log", "cni", "cni-ipam", "kubelet", "podlogs", "private/home", "volumes"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	kubeconfigs := map[string]string{
		"kubeconfig":                         "admin",
		"kube-controller-manager.kubeconfig": "kube-controller-manager",
		"kube-scheduler.kubeconfig":          "kube-scheduler",
		"kube-proxy.kubeconfig":              "kube-proxy",
		"kubelet.kubeconfig":                 "kubelet",
		"volume-provisioner.kubeconfig":      "volume-provisioner",
	}
	for file, user := range kubeconfigs {
		text, err := c.kubeconfig(user)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.path(file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"cni/10-bridge.conflist": c.cniConfig(),
		"containerd.toml":        c.containerdConfig(),
		"kubelet.yaml":           c.kubeletConfig(),
		"kube-proxy.yaml":        c.proxyConfig(),
	} {
		if err := os.WriteFile(c.path(file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig holds its certificates, so that the file works wherever it is copied to.
func (c Cluster) kubeconfig(user string) (string, error) {
	var encoded [3]string
	for i, file := range []string{"ca.crt", user + ".crt", user + ".key"} {
		data, err := os.ReadFile(c.pki(file))
		if err != nil {
			return "", err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(data)
	}
	context := "localkube-" + c.Name
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s-%[4]s
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s-%[4]s
current-context: %[1]s
`, context, c.Server(), encoded[0], user, encoded[1], encoded[2]), nil
}

// cniConfig joins pods by a bridge in the cluster's network namespace. Addresses handed out are remembered in the
// cluster's directory: the default directory is shared by all who use host-local.
func (c Cluster) cniConfig() string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "localkube", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`, c.path("cni-ipam"), podCIDR)
}

// containerdConfig keeps all of containerd under the cluster's directory.
//
// restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing, runc dies with "can't get final child's PID from pipe: EOF"
// when it is asked for a lower score than its own. NRI would listen on a socket that all containerds share.
func (c Cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs", "io.containerd.differ.v1.erofs",
]

[grpc]
  address = %q

[ttrpc]
  address = %q

[plugins.'io.containerd.internal.v1.opt']
  path = %q

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %q

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
`, c.path("containerd"), c.path("containerd-state"), c.containerdSocket(), c.containerdSocket()+".ttrpc", c.path("opt"),
		PauseImage, cniDir, c.path("cni"))
}

// kubeletConfig: cgroupRoot puts the pods where [Down] finds them. Images come from files and could not be pulled again,
// so none is ever collected. Pods know no names but the cluster's: the machine's resolver is out of their reach.
func (c Cluster) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
tlsCertFile: %q
tlsPrivateKeyFile: %q
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
enforceNodeAllocatable: []
failSwapOn: false
clusterDNS: [%q]
clusterDomain: cluster.local
containerRuntimeEndpoint: %q
resolvConf: ""
podLogsDir: %q
volumePluginDir: %q
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%}
`, c.pki("ca.crt"), c.pki("kubelet-server.crt"), c.pki("kubelet-server.key"), c.cgroup(), dnsServiceIP,
		"unix://"+c.containerdSocket(), c.path("podlogs"), c.path("kubelet/volumeplugins"))
}

// proxyConfig: conntrack's limits belong to the whole machine and are left alone.
func (c Cluster) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %q}
clusterCIDR: %s
hostnameOverride: %s
conntrack: {maxPerCore: 0, min: 0}
`, c.path("kube-proxy.kubeconfig"), podCIDR, c.Node())
}
