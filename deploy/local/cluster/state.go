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
