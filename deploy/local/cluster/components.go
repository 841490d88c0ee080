package cluster

import "path/filepath"

// Components are the processes of a cluster, in the order they are started. containerd is a program of its own; the others
// are calls of this binary.
var Components = []string{
	"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
}

// argv is a component's command line; its first word is what the process is called, see [program].
func (c Cluster) argv(component string, fsync bool) []string {
	args := []string{component}
	switch component {
	case "containerd":
		args = append(args, "--config", c.path("containerd.toml"))
	case "etcd":
		args = append(args, c.etcdFlags()...)
		if !fsync {
			args = append(args, "--unsafe-no-fsync")
		}
	case "kube-apiserver":
		args = append(args, c.apiserverFlags()...)
	case "kube-controller-manager":
		args = append(args, c.clientFlags(component)...)
		args = append(args,
			"--service-account-private-key-file", c.pki("sa.key"),
			"--root-ca-file", c.pki("ca.crt"),
			"--cluster-signing-cert-file", c.pki("ca.crt"),
			"--cluster-signing-key-file", c.pki("ca.key"),
			"--use-service-account-credentials",
			// It looks this often whether the node still has to be kept free of pods; by default every five seconds.
			"--node-monitor-period", "500ms",
			// Its fifty controllers ask for a token each before they start; by default it would take seconds over that.
			"--kube-api-qps", "200", "--kube-api-burst", "400",
		)
	case "kube-scheduler":
		args = append(args, c.clientFlags(component)...)
	case "kubelet":
		args = append(args,
			"--config", c.path("kubelet.yaml"),
			"--kubeconfig", c.path("kubelet.kubeconfig"),
			"--root-dir", c.path("kubelet"),
			"--cert-dir", c.path("kubelet/pki"),
			"--hostname-override", c.Node(),
			"--node-ip", c.NodeAddress(),
		)
	case "kube-proxy":
		args = append(args, "--config", c.path("kube-proxy.yaml"))
	}
	return args
}

// program is the file a component is run from.
func program(bin, component string) string {
	if component == "containerd" {
		return filepath.Join(bin, "containerd")
	}
	return filepath.Join(bin, "localkube")
}

// etcdFlags: etcd listens on the loopback of the cluster's namespace only, where nobody but the API server is.
func (c Cluster) etcdFlags() []string {
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []string{
		"--data-dir", c.path("etcd"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}
}

// apiserverFlags: the advertised address is the node's, so that pods reach the API at its service address.
func (c Cluster) apiserverFlags() []string {
	return []string{
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", "0.0.0.0", "--secure-port", "6443", "--advertise-address", c.NodeAddress(),
		"--cert-dir", c.path("pki"),
		"--tls-cert-file", c.pki("apiserver.crt"), "--tls-private-key-file", c.pki("apiserver.key"),
		"--client-ca-file", c.pki("ca.crt"),
		"--requestheader-client-ca-file", c.pki("front-proxy-ca.crt"), "--requestheader-allowed-names", "front-proxy-client",
		"--requestheader-username-headers", "X-Remote-User", "--requestheader-group-headers", "X-Remote-Group",
		"--requestheader-extra-headers-prefix", "X-Remote-Extra-",
		"--proxy-client-cert-file", c.pki("front-proxy-client.crt"), "--proxy-client-key-file", c.pki("front-proxy-client.key"),
		"--kubelet-client-certificate", c.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key", c.pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority", c.pki("ca.crt"),
		"--kubelet-preferred-address-types", "InternalIP",
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", c.pki("sa.key"), "--service-account-signing-key-file", c.pki("sa.key"),
		"--service-cluster-ip-range", serviceCIDR,
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
	}
}

// clientFlags are common to controller-manager and scheduler. There is one of each, so they elect no leader.
func (c Cluster) clientFlags(component string) []string {
	kubeconfig := c.path(component + ".kubeconfig")
	return []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--leader-elect=false", "--cert-dir", c.path("pki"),
	}
}
