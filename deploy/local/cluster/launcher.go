package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// launcher starts a cluster's processes from a thread that has entered its namespaces. A process is in its namespaces and
// its cgroup from birth, so there is no moment in which a crash of localkube would lose sight of it.
type launcher struct {
	cluster Cluster
	groups  cgroups
	jobs    chan func()
}

func newLauncher(c Cluster, groups cgroups) (*launcher, error) {
	l := &launcher{cluster: c, groups: groups, jobs: make(chan func())}
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

func (l *launcher) close() { close(l.jobs) }

func (l *launcher) enter() error {
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

// start starts a component, writing to its log.
func (l *launcher) start(bin string, argv []string) (*exec.Cmd, error) {
	component := argv[0]
	log, err := os.OpenFile(l.cluster.Log(component), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path:   program(bin, component),
		Args:   argv,
		Dir:    l.cluster.Dir,
		Env:    environment(bin),
		Stdout: log,
		Stderr: log,
		// Of its own session: what ends localkube's terminal does not end the cluster.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	result := make(chan error)
	l.jobs <- func() { result <- l.inCgroup(cmd) }
	if err := <-result; err != nil {
		return nil, fmt.Errorf("start %s: %w", component, err)
	}
	return cmd, nil
}

// inCgroup starts cmd in the cluster's cgroup. Version 2 has a system call for that. With version 1 the thread itself goes
// there and back, as a child is born where the thread is that makes it.
func (l *launcher) inCgroup(cmd *exec.Cmd) error {
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
func (l *launcher) ownCgroup() (string, error) {
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

// environment is what the components get to see: nothing of the caller's but where programs are. Debian keeps runc and nft
// in sbin, which a user's PATH may lack.
func environment(bin string) []string {
	return []string{
		"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LANG=C.UTF-8",
	}
}
