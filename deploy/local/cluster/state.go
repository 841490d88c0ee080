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

// stateEntries are named one by one because --dir may name a directory with other things in it.
var stateEntries = []string{
	"cni", "cni-ipam", "containerd", "containerd-state", "containerd.sock", "containerd.sock.ttrpc", "containerd.toml",
	"etcd", "etcd.sock:0", "etcd.sock:1", "kube-controller-manager.kubeconfig", "kube-proxy.kubeconfig", "kube-proxy.yaml",
	"kube-scheduler.kubeconfig", "kubeconfig", "kubelet", "kubelet.kubeconfig", "kubelet.yaml", "opt", "pause.tar", "pki",
	"podlogs", "private", "volume-provisioner.kubeconfig", "volumes",
}

// marker says that the state in a directory is ours.
const marker = ".localkube"

// checkContents refuses a directory that somebody named and that holds, under a name of ours, what is not ours: it would be
// removed as what an earlier start left.
func checkContents(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, marker)); err == nil {
		return nil
	}
	for _, name := range stateEntries {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already and not localkube's: name an empty directory with --dir", file)
		}
	}
	return nil
}

// mark says that what is put into the directory from now on is ours.
func (c Cluster) mark() error {
	return os.WriteFile(c.path(marker), []byte(c.Name+"\n"), 0o644)
}

// removeState removes what a cluster keeps in its directory, but for the logs. It refuses while anything is mounted there:
// what is removed through a mount is somebody else's.
func (c Cluster) removeState() error {
	mounts, err := mountsIn(c.Dir)
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
	// Last: what a broken off removal leaves is still ours.
	if err := os.Remove(c.path(marker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
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
