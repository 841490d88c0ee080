package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// privateDirs are places outside the cluster's directory that containerd, CNI plugins and the kubelet write to, with no
// setting to say otherwise. In the cluster's mount namespace a directory of the cluster lies over each.
var privateDirs = []string{"/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/containers"}

// enterMountNamespace gives the calling thread, and so every process it starts, a mount namespace that ends with the last
// of them: no mount of a pod is seen, or left behind, outside.
func (c Cluster) enterMountNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	// First nothing goes out; then, inside, mounts are shared again, as pods with mount propagation expect.
	for _, propagation := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", propagation|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount propagation: %w", err)
		}
	}
	// Our copies of these mounts would keep other clusters' network namespaces alive after their end.
	if err := unmountBelow(netnsDir); err != nil {
		return err
	}
	for _, dir := range privateDirs {
		own := c.path("private", strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-"))
		for _, needed := range []string{dir, own} {
			if err := os.MkdirAll(needed, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(own, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points below dir, in the order they were mounted, from a mountinfo file.
func mountsBelow(mountinfo, dir string) ([]string, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil, err
	}
	// Blanks in paths are written in octal.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			if point := unescape.Replace(fields[4]); strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	return points, nil
}

// removeState removes what a cluster keeps in its directory, but for the logs. It refuses while anything is mounted there:
// what is removed through a mount is somebody else's.
func (c Cluster) removeState() error {
	mounts, err := mountsBelow("/proc/self/mountinfo", c.Dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("still mounted: %s", strings.Join(mounts, ", "))
	}
	for _, name := range stateEntries {
		if err := os.RemoveAll(c.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// stateEntries are named one by one because --dir may name a directory with other things in it.
var stateEntries = []string{
	"cni", "cni-ipam", "containerd", "containerd-state", "containerd.sock", "containerd.sock.ttrpc", "containerd.toml",
	"etcd", "kube-controller-manager.kubeconfig", "kube-proxy.kubeconfig", "kube-proxy.yaml", "kube-scheduler.kubeconfig",
	"kubeconfig", "kubelet", "kubelet.kubeconfig", "kubelet.yaml", "opt", "pause.tar", "pki", "podlogs", "private",
}

// retryBusy calls f until it does something other than answer EBUSY, which the kernel does for a moment after a process
// has ended, or until the time is over.
func retryBusy(limit time.Duration, f func() error) error {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// removeEmpty removes a directory if it is there and empty.
func removeEmpty(dir string) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) == 0 {
		_ = os.Remove(dir)
	}
}

// subdirs lists dir and every directory below it, parents first. A directory that goes meanwhile is left out.
func subdirs(dir string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	return dirs, err
}
