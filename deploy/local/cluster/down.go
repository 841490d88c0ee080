package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Down ends a cluster: every process, its pods' too, and all it had on this machine but its logs. It works on what a crash
// of anything left, and says whether there was something to end.
func Down(ctx context.Context, name string, waiting func()) (found bool, err error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	ground, err := findGround()
	if err != nil {
		return false, err
	}
	registry, err := openRegistry()
	if err != nil {
		return false, err
	}
	release, err := registry.lock(ctx, "cluster-"+name, waiting)
	if err != nil {
		return false, err
	}
	defer release()
	record, err := registry.load(name)
	if errors.Is(err, ErrNotRunning) {
		left, err := ground.names()
		if err != nil || !slices.Contains(left, name) {
			return false, errors.Join(err, foreign(name))
		}
	} else if err != nil {
		// A record that cannot be read tells no directory: it is looked for where it would be by default.
		record = Record{}
		if record.Dir, err = DefaultDir(name); err != nil {
			return true, err
		}
	}
	return true, teardown(ctx, registry, ground, record.orNamed(name))
}

// foreign refuses, in one sentence, to end what is root's.
func foreign(name string) error {
	if registry(rootRegistry).has(name) && !privileged() {
		return fmt.Errorf("cluster %q is root's: run this with sudo", name)
	}
	return nil
}

// Names are the clusters that [Down] would end.
func Names() ([]string, error) {
	ground, err := findGround()
	if err != nil {
		return nil, err
	}
	registry, err := openRegistry()
	if err != nil {
		return nil, err
	}
	recorded, err := registry.names()
	if err != nil {
		return nil, err
	}
	left, err := ground.names()
	if err != nil {
		return nil, err
	}
	names := append(recorded, left...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// teardown removes all of a cluster, in an order that can be broken off anywhere and begun again: the record goes last.
func teardown(ctx context.Context, registry registry, ground ground, r Record) error {
	if err := ground.clear(r.Cluster); err != nil {
		return err
	}
	if r.Dir != "" {
		if err := r.removeState(); err != nil {
			return fmt.Errorf("remove %s: %w", r.Dir, err)
		}
	}
	release, err := registry.lock(ctx, "all", func() {})
	if err != nil {
		return err
	}
	defer release()
	if err := os.Remove(registry.file(r.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	others, err := registry.names()
	if err != nil || len(others) > 0 {
		return err
	}
	// The last one puts back what all of them had changed.
	return ground.restore()
}
