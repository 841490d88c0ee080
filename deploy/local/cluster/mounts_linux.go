package cluster

import (
	"errors"
	"fmt"
	"os"
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

// unmountBelow unmounts all that is mounted below dir in our mount namespace, the last mounted first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow("/proc/self/mountinfo", dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		err := retryBusy(time.Second, func() error { return unix.Unmount(mounts[i], 0) })
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(mounts[i], unix.MNT_DETACH)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	return nil
}
