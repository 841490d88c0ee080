package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// registry is the directory that holds a record for each cluster that one user sees, root's apart from others'. It may
// outlive a reboot, so records carry the boot they were written in.
type registry string

func openRegistry() (registry, error) {
	dir, err := registryDir()
	return registry(dir), err
}

// userRegistry is where the clusters of somebody other than root are.
func userRegistry() (string, error) {
	base, err := stateBase()
	return filepath.Join(base, "localkube", ".run"), err
}

// Record is what is known of a cluster besides its name.
type Record struct {
	// Cluster is whose record it is.
	Cluster
	// Boot is the kernel's boot id: a record of another boot describes nothing that still runs.
	Boot string
	// Fsync says that etcd waits for the disk.
	Fsync bool
	// With are the add-ons that were asked for.
	With []string
	// Processes are the components, in the order they were started.
	Processes []Process
}

// Process names a process beyond doubt: ids are used again, ids with start times are not.
type Process struct {
	// Component is its name, as in [Components].
	Component string
	// ID is the process id.
	ID int
	// Start is when it started, in clock ticks since boot.
	Start string
}

// Alive says whether the process still runs.
func (p Process) Alive() bool {
	start, err := startTime(p.ID)
	return err == nil && start == p.Start
}

func (r registry) file(name string) string { return filepath.Join(string(r), name+".json") }

// Load reads a cluster's record, or says [ErrNotRunning].
func Load(name string) (Record, error) {
	registry, err := openRegistry()
	if err != nil {
		return Record{}, err
	}
	return registry.load(name)
}

func (r registry) load(name string) (Record, error) {
	if err := CheckName(name); err != nil {
		return Record{}, err
	}
	var record Record
	data, err := os.ReadFile(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		if err := foreign(name); err != nil {
			return record, err
		}
		return record, fmt.Errorf("cluster %q %w; start it with `localkube up --name %s`", name, ErrNotRunning, name)
	}
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, fmt.Errorf("%s is damaged (%w): end the cluster with `localkube down --name %s`", r.file(name), err, name)
	}
	return record, nil
}

// save replaces the record as a whole, so that a reader or a crash never meets half of one.
func (r registry) save(record Record) error {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	// The dot keeps the unfinished file out of records().
	temporary := filepath.Join(string(r), "."+record.Name+".new")
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, r.file(record.Name))
}

// has says whether there is a record of that name.
func (r registry) has(name string) bool {
	_, err := os.Stat(r.file(name))
	return err == nil
}

// names are those that have a record, damaged ones too.
func (r registry) names() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(string(r), "[a-z0-9]*.json"))
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	return files, nil
}

// records are the records of all clusters.
func (r registry) records() ([]Record, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, name := range names {
		record, err := r.load(name)
		if errors.Is(err, ErrNotRunning) {
			continue // ended since the directory was read
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// alive says whether every component of the record still runs.
func (r Record) alive() bool {
	if len(r.Processes) != len(r.components()) || r.Boot != bootID() {
		return false
	}
	for _, process := range r.Processes {
		if !process.Alive() {
			return false
		}
	}
	return true
}

// lock takes a lock in the registry and returns its release. While another process holds it, lock calls wait once and goes on
// trying until the context ends. The file goes with the release, so one that was waited for may not be the one others lock:
// then it is tried anew.
func (r registry) lock(ctx context.Context, name string, wait func()) (release func(), err error) {
	path := filepath.Join(string(r), "."+name+".lock")
	for waited := false; ; {
		if err := os.MkdirAll(string(r), 0o755); err != nil {
			return nil, err
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the last cluster just went, and the directory with it
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && isFile(file, path) {
			return func() {
				_ = os.Remove(path)
				file.Close()
				removeEmpty(string(r))
			}, nil
		}
		file.Close()
		if !waited {
			waited = true
			wait()
		}
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isFile says whether the open file is still the one at path.
func isFile(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(held, there)
}
