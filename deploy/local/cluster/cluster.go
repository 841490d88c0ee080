// Package cluster starts, inspects and ends Kubernetes clusters on this machine, each with one node on which pods run, nodes
// that kwok pretends, or both.
//
// Root's cluster on Linux owns: a network namespace joined to ours by a veth pair, a mount namespace that lives as long as
// its processes, a cgroup subtree that every process of it (those of its pods too) is born in, a state directory, and a
// record in /run/localkube. All are found by the cluster's name alone, so that [Down] works after any crash, and nothing else
// of the machine is touched. Anybody else's cluster is processes on 127.0.0.1, a state directory and a record beside it; no
// pod runs in it.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// ErrNotRunning is returned where a running cluster is needed and there is none of that name.
var ErrNotRunning = errors.New("is not running")

// errInterrupted is how a start ends that the user broke off.
var errInterrupted = errors.New("interrupted")

// Cluster names what belongs to one cluster. It is derived, holds nothing open and may be copied.
type Cluster struct {
	// Name is unique on this machine.
	Name string
	// Dir holds the cluster's state: certificates, configuration, etcd's and containerd's data, logs.
	Dir string
	// Nodes are what it has of them.
	Nodes Nodes
	// Number picks its addresses, 10.200.Number.0/30, if it has any of its own.
	Number int
	// Port is that of its API server on 127.0.0.1, if it has no address of its own.
	Port int
}

// Cluster networks. Each cluster has a network namespace of its own, so all may use the same ones.
const (
	podCIDR      = "10.88.0.0/16"
	serviceCIDR  = "10.96.0.0/16"
	apiServiceIP = "10.96.0.1"
	dnsServiceIP = "10.96.0.10"
	// kwokCIDR is what the pods of kwok's nodes have, kwokNodes what the nodes themselves have: nobody answers there.
	kwokCIDR  = "10.89.0.0/16"
	kwokNodes = "10.90.%d.%d"
)

// maxDir keeps the longest socket path, kubelet/device-plugins/kubelet.sock, under the 108 bytes of sockaddr_un.
const maxDir = 107 - len("/kubelet/device-plugins/kubelet.sock")

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// CheckName refuses a name that cannot be part of a node's, a cgroup's and a file's name.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("cluster name %q: use at most 20 lower case letters, digits and dashes", name)
	}
	return nil
}

// DefaultDir is where the state of a cluster goes when nobody says otherwise.
func DefaultDir(name string) (string, error) {
	base, err := stateBase()
	return filepath.Join(base, "localkube", name), err
}

// stateBase is where all state goes, outside of any checkout.
func stateBase() (string, error) {
	base := os.Getenv("THREEPORT_STATE")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%w: set it, or THREEPORT_STATE, to the directory for the clusters' state", err)
		}
		base = filepath.Join(home, ".local/state/threeport")
	}
	return filepath.Abs(base)
}

func checkDir(dir string) error {
	if len(dir) > maxDir {
		return fmt.Errorf("state directory %s is too long for the sockets in it: name one of at most %d characters with --dir", dir, maxDir)
	}
	return nil
}

// Node is the name of the cluster's real node.
func (c Cluster) Node() string { return c.Name + "-node" }

// HostAddress is our end of the veth pair.
func (c Cluster) HostAddress() string { return fmt.Sprintf("10.200.%d.1", c.Number) }

// NodeAddress is the cluster's end: its API server, its node, its NodePorts.
func (c Cluster) NodeAddress() string { return fmt.Sprintf("10.200.%d.2", c.Number) }

// Server is the URL of the API server.
func (c Cluster) Server() string {
	if c.onLoopback() {
		return fmt.Sprintf("https://127.0.0.1:%d", c.Port)
	}
	return "https://" + c.NodeAddress() + ":6443"
}

// onLoopback says that the cluster shares our network, see [loopback].
func (c Cluster) onLoopback() bool { return c.Port != 0 }

// Kubeconfig is the administrator's kubeconfig file.
func (c Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// Log is the file a component writes to.
func (c Cluster) Log(component string) string { return c.path("log", component+".log") }

func (c Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

func (c Cluster) containerdSocket() string { return c.path("containerd.sock") }

// cgroup is the cluster's subtree, relative to the root of each hierarchy; the processes of the node itself are in
// cgroup()/system, the pods in cgroup()/kubepods.
func (c Cluster) cgroup() string { return "localkube/" + c.Name }

// netns is the name of the network namespace, as `ip netns` knows it.
func (c Cluster) netns() string { return "localkube-" + c.Name }

// link is our end of the veth pair. Its name holds the number, names of links being short.
func (c Cluster) link() string { return fmt.Sprintf("lk%d", c.Number) }
