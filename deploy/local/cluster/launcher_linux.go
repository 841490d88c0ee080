package cluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// isolatedLauncher starts a cluster's processes from a thread that has entered its namespaces. A process is in its namespaces
// and its cgroup from birth, so there is no moment in which a crash of localkube would lose sight of it.
type isolatedLauncher struct {
	cluster Cluster
	groups  cgroups
	jobs    chan func()
}

func newIsolatedLauncher(c Cluster, groups cgroups) (*isolatedLauncher, error) {
	l := &isolatedLauncher{cluster: c, groups: groups, jobs: make(chan func())}
	ready := make(chan error)
	go onOwnThread(func() {
		err := l.enter()
		ready <- err
		if err != nil {
			return
		}
		for job := range l.jobs {
			job()
		}
	})
	return l, <-ready
}

func (l *isolatedLauncher) close() { close(l.jobs) }

func (l *isolatedLauncher) enter() error {
	space, err := os.Open(filepath.Join(netnsDir, l.cluster.netns()))
	if err != nil {
		return err
	}
	defer space.Close()
	if err := l.cluster.enterMountNamespace(); err != nil {
		return err
	}
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	// What /proc/sys/net shows is that of the thread's namespace.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

func (l *isolatedLauncher) start(cmd *exec.Cmd) (err error) {
	l.do(func() { err = l.inCgroup(cmd) })
	return err
}

// dial makes the connection's socket in the cluster's network namespace, where it stays whoever uses it.
func (l *isolatedLauncher) dial(network, address string) (connection net.Conn, err error) {
	l.do(func() { connection, err = net.Dial(network, address) })
	return connection, err
}

// do runs a function on the thread that is inside.
func (l *isolatedLauncher) do(job func()) {
	done := make(chan struct{})
	l.jobs <- func() {
		defer close(done)
		job()
	}
	<-done
}

// inCgroup starts cmd in the cluster's cgroup. Version 2 has a system call for that. With version 1 the thread itself goes
// there and back, as a child is born where the thread is that makes it.
func (l *isolatedLauncher) inCgroup(cmd *exec.Cmd) error {
	system := filepath.Join(l.groups.tracker, l.cluster.cgroup(), "system")
	if l.groups.unified {
		dir, err := os.Open(system)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
		return cmd.Start()
	}
	home, err := l.ownCgroup()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(system, "tasks"), []byte("0"), 0); err != nil {
		return err
	}
	err = cmd.Start()
	if back := os.WriteFile(filepath.Join(home, "tasks"), []byte("0"), 0); back != nil && err == nil {
		err = back
	}
	return err
}

// ownCgroup is the directory of the calling thread's cgroup in the tracking hierarchy.
func (l *isolatedLauncher) ownCgroup() (string, error) {
	data, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] == "freezer" {
			return filepath.Join(l.groups.tracker, parts[2]), nil
		}
	}
	return l.groups.tracker, nil
}
