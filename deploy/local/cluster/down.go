package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Down ends a cluster: every process, its pods' too, and all it had on this machine but its logs. It works on what a crash
// of anything left, and says whether there was something to end.
func Down(ctx context.Context, name string, waiting func()) (found bool, err error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	if err := RequireRoot(); err != nil {
		return false, err
	}
	release, err := lock(ctx, "cluster-"+name, waiting)
	if err != nil {
		return false, err
	}
	defer release()
	groups, err := findCgroups()
	if err != nil {
		return false, err
	}
	record, err := Load(name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		// A record that cannot be read tells no directory; the rest is found by the name.
		record, err = Record{}, nil
	}
	found = err == nil || groups.exists("localkube/"+name)
	return found, teardown(ctx, record.orNamed(name), groups)
}

// teardown removes all of a cluster, in an order that can be broken off anywhere and begun again: the record goes last.
func teardown(ctx context.Context, r Record, groups cgroups) error {
	c := r.Cluster
	if err := groups.kill(c.cgroup()); err != nil {
		return err
	}
	if c.Dir != "" {
		if err := unmountBelow(c.Dir); err != nil {
			return err
		}
	}
	if err := c.deleteNetwork(); err != nil {
		return err
	}
	if err := groups.remove(c.cgroup()); err != nil {
		return err
	}
	if c.Dir != "" {
		if err := c.removeState(); err != nil {
			return fmt.Errorf("remove %s: %w", c.Dir, err)
		}
	}
	release, err := lock(ctx, "all", func() {})
	if err != nil {
		return err
	}
	defer release()
	if err := os.Remove(recordFile(c.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	others, err := filepath.Glob(filepath.Join(runDir, "[a-z0-9]*.json"))
	if err != nil || len(others) > 0 {
		return err
	}
	// The last one puts back what all of them had changed.
	for _, dir := range privateDirs {
		removeEmpty(dir)
	}
	return restoreSysctls()
}
