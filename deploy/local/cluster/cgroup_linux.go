package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are the machine's cgroup hierarchies: one with version 2, one for each controller with version 1. Some machines
// mount both: then version 1 has the controllers, and runc makes cgroups in all.
type cgroups struct {
	// roots are the mount points.
	roots []string
	// tracker is the one of them that holds every process of a cluster and can stop them: the freezer's with version 1.
	tracker string
	unified bool
}

func findCgroups() (cgroups, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return cgroups{}, err
	}
	return parseCgroups(string(data))
}

func parseCgroups(mounts string) (cgroups, error) {
	var found cgroups
	var second string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		switch point, options := fields[1], strings.Split(fields[3], ","); {
		case fields[2] == "cgroup2":
			found.roots = append(found.roots, point)
			second = point
		case fields[2] == "cgroup":
			found.roots = append(found.roots, point)
			if slices.Contains(options, "freezer") {
				found.tracker = point
			}
		}
	}
	switch {
	case found.tracker != "":
		return found, nil
	case second != "":
		return cgroups{roots: []string{second}, tracker: second, unified: true}, nil
	}
	return cgroups{}, errors.New("no cgroups with a freezer are mounted: mount cgroup version 2 at /sys/fs/cgroup")
}

// create makes the cgroups of a cluster: the one pods go below, which the kubelet wants in every hierarchy, and "system"
// below it for the node's own processes.
func (g cgroups) create(path string) error {
	for _, root := range g.roots {
		dir := root
		for part := range strings.SplitSeq(path, "/") {
			if err := g.delegate(dir); err != nil {
				return err
			}
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			// With version 1 a new cpuset is empty, and takes no process until it has processors and memory.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := inherit(dir, file); err != nil && !g.unified {
					return err
				}
			}
		}
		if err := g.delegate(dir); err != nil {
			return err
		}
	}
	err := os.Mkdir(filepath.Join(g.tracker, path, "system"), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// delegated are the controllers that a kubelet demands below its cgroup root wherever the machine has them.
var delegated = []string{"cpu", "cpuset", "hugetlb", "memory", "pids"}

// delegate lets the children of a version 2 cgroup have these controllers.
func (g cgroups) delegate(dir string) error {
	if !g.unified {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(data)) {
		if !slices.Contains(delegated, controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("cgroup controller %s of %s: %w", controller, dir, err)
		}
	}
	return nil
}

func inherit(dir, file string) error {
	own := filepath.Join(dir, file)
	data, err := os.ReadFile(own)
	if err != nil || len(bytes.TrimSpace(data)) > 0 {
		return ignoreMissing(err)
	}
	data, err = os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if err != nil {
		return err
	}
	return os.WriteFile(own, data, 0)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// processes lists the ids of all processes in a cluster's cgroups.
func (g cgroups) processes(path string) ([]int, error) {
	dirs, err := subdirs(filepath.Join(g.tracker, path))
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
			continue // the directory went
		}
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(data)) {
			// 0 is a process of a pid namespace that we do not see, and not ours to end from here.
			if id, err := strconv.Atoi(field); err == nil && id > 0 && id != os.Getpid() {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// kill ends every process of a cluster at once. They are stopped first, so that none starts another meanwhile: neither a
// shim a hook, nor a fork bomb itself.
func (g cgroups) kill(path string) error {
	top := filepath.Join(g.tracker, path)
	if _, err := os.Stat(top); err != nil {
		return ignoreMissing(err)
	}
	killed := map[int]bool{}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		g.freeze(top, true)
		ids, err := g.processes(path)
		if err != nil {
			return err
		}
		for _, id := range ids {
			killed[id] = true
			_ = syscall.Kill(id, syscall.SIGKILL)
		}
		g.freeze(top, false)
		if len(ids) == 0 {
			awaitReaped(killed)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v do not end", ids)
		}
	}
}

// awaitReaped gives the machine's init, whose children they are now, a moment to take the ended processes off the process
// table. One that does not is not waited for: they have let go of all they had.
func awaitReaped(ids map[int]bool) {
	for end := time.Now().Add(3 * time.Second); len(ids) > 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for id := range ids {
			if syscall.Kill(id, 0) != nil {
				delete(ids, id)
			}
		}
	}
}

// freeze stops or continues all of a subtree. Continuing goes to every cgroup in it, as a pod may have been paused by
// itself. Errors are of no interest: [cgroups.kill] looks at what is left.
func (g cgroups) freeze(top string, frozen bool) {
	file, value := "freezer.state", "THAWED"
	if frozen {
		value = "FROZEN"
	}
	if g.unified {
		file, value = "cgroup.freeze", "0"
		if frozen {
			value = "1"
		}
	}
	dirs := []string{top}
	if !frozen {
		dirs, _ = subdirs(top)
	}
	for _, dir := range dirs {
		_ = os.WriteFile(filepath.Join(dir, file), []byte(value), 0)
	}
}

// remove removes the cluster's cgroups from every hierarchy.
func (g cgroups) remove(path string) error {
	for _, root := range g.roots {
		top := filepath.Join(root, path)
		dirs, err := subdirs(top)
		if err != nil {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			err := retryBusy(10*time.Second, func() error { return unix.Rmdir(dir) })
			if err := ignoreMissing(err); err != nil {
				return fmt.Errorf("cgroup %s: %w", dir, err)
			}
		}
		// The directory common to all clusters goes with the last.
		_ = unix.Rmdir(filepath.Dir(top))
	}
	return nil
}

// exists says whether any hierarchy has the cluster's cgroup.
func (g cgroups) exists(path string) bool {
	return slices.ContainsFunc(g.roots, func(root string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	})
}
