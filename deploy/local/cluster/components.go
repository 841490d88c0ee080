package cluster

import (
	"path/filepath"
	"slices"
	"strconv"
)

// Components are the processes that a cluster may have, in the order they are started. containerd is a program of its own;
// the others are calls of this binary.
var Components = []string{
	"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kwok",
	"volume-provisioner",
}

// components are the processes of this cluster.
func (c Cluster) components() []string {
	return slices.DeleteFunc(slices.Clone(Components), func(component string) bool {
		switch component {
		case "containerd", "kubelet", "kube-proxy":
			return !c.Nodes.Real
		case "kwok":
			return c.Nodes.Kwok == 0
		}
		return false
	})
}

// argv is a component's command line; its first word is what the process is called, see [program].
func (c Cluster) argv(bin, component string, fsync bool) []string {
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
	case "kwok":
		// As kwokctl does it: the administrator's rights, and the nodes that say they are kwok's.
		args = append(args,
			"--kubeconfig", c.Kubeconfig(),
			"--config", filepath.Join(bin, stagesFile),
			"--manage-all-nodes=false", "--manage-nodes-with-annotation-selector", kwokAnnotation+"="+kwokFake,
			"--cidr", kwokCIDR,
			"--node-lease-duration-seconds", "40",
		)
	case "volume-provisioner":
		args = append(args, "--kubeconfig", c.path("volume-provisioner.kubeconfig"), "--directory", c.path("volumes"))
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

// etcdEndpoint is a socket in the cluster's directory, which is where etcd and the API server are started: nobody else on the
// machine, and no pod, can speak to etcd. etcd wants a port even here: it is part of the file's name.
const etcdEndpoint = "unix://etcd.sock:0"

func (c Cluster) etcdFlags() []string {
	const peer = "unix://etcd.sock:1"
	return []string{
		"--data-dir", c.path("etcd"),
		"--listen-client-urls", etcdEndpoint, "--advertise-client-urls", etcdEndpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}
}

// apiserverFlags: the advertised address is the node's, so that pods reach the API at its service address.
// On loopback there is no address that could be advertised, and no pod to want one.
func (c Cluster) apiserverFlags() []string {
	address := []string{"--bind-address", "0.0.0.0", "--secure-port", "6443", "--advertise-address", c.NodeAddress()}
	if c.onLoopback() {
		address = []string{
			"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(c.Port), "--endpoint-reconciler-type", "none",
		}
	}
	return append(address,
		"--etcd-servers", etcdEndpoint,
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
	)
}

// clientFlags are common to controller-manager and scheduler. There is one of each, so they elect no leader. What they serve
// on ports that are the same for all clusters is not served on loopback, where several may be.
func (c Cluster) clientFlags(component string) []string {
	kubeconfig := c.path(component + ".kubeconfig")
	flags := []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--leader-elect=false", "--cert-dir", c.path("pki"),
	}
	if c.onLoopback() {
		flags = append(flags, "--secure-port", "0")
	}
	return flags
}
