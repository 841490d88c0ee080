package cluster

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// loopback is the ground of those who may make neither namespaces nor cgroups: a control plane that listens on 127.0.0.1,
// and kwok's nodes. Its processes are told from others by their command lines, all of which name the cluster's directory.
type loopback struct{}

func (loopback) check(bin string, nodes Nodes) error {
	if nodes.Real {
		return errNoRealNodes
	}
	return checkFiles(bin, "localkube", stagesFile)
}

func (loopback) allocate(c *Cluster, others []Record) error {
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		port := listener.Addr().(*net.TCPAddr).Port
		if err := listener.Close(); err != nil {
			return err
		}
		if !slices.ContainsFunc(others, func(other Record) bool { return other.Port == port }) {
			c.Port = port
			return nil
		}
	}
}

func (loopback) prepare(Cluster) error { return nil }

func (loopback) enter(Cluster) (launcher, error) { return loopbackLauncher{}, nil }

// names is empty: without a record there is no directory to know a process by, and the record is there before the first.
func (loopback) names() ([]string, error) { return nil, nil }

func (loopback) clear(c Cluster) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ids, err := c.processes()
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v do not end", ids)
		}
		for _, id := range ids {
			_ = syscall.Kill(id, syscall.SIGKILL)
		}
	}
}

func (loopback) restore() error { return nil }

// processes lists the ids of the cluster's components, whoever started them and whatever record there is.
func (c Cluster) processes() ([]int, error) {
	lines, err := commandLines()
	if err != nil {
		return nil, err
	}
	var ids []int
	for id, line := range lines {
		if c.owns(line) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// owns says whether a command line is that of one of the cluster's components: an editor with one of its files open is not.
func (c Cluster) owns(line string) bool {
	name, arguments, _ := strings.Cut(line, " ")
	return c.Dir != "" && slices.Contains(Components, filepath.Base(name)) && strings.Contains(arguments, c.Dir+"/")
}

type loopbackLauncher struct{}

func (loopbackLauncher) start(cmd *exec.Cmd) error { return cmd.Start() }

func (loopbackLauncher) dial(network, address string) (net.Conn, error) {
	return net.Dial(network, address)
}

func (loopbackLauncher) close() {}
