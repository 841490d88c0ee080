package cluster

import (
	"bytes"
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

// runDir holds a record for each cluster. It may outlive a reboot (on some machines /run is on disk), so records carry the
// boot they were written in.
const runDir = "/run/localkube"

// Record is what is known of a cluster besides its name.
type Record struct {
	// Cluster is whose record it is.
	Cluster
	// Boot is the kernel's boot id: a record of another boot describes nothing that still runs.
	Boot string
	// Fsync says that etcd waits for the disk.
	Fsync bool
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

// startTime reads field 22 of /proc/ID/stat; an ended process that nobody waited for counts as gone.
func startTime(id int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses and may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil
}

func recordFile(name string) string { return filepath.Join(runDir, name+".json") }

// Load reads a cluster's record, or says [ErrNotRunning].
func Load(name string) (Record, error) {
	if err := CheckName(name); err != nil {
		return Record{}, err
	}
	var record Record
	data, err := os.ReadFile(recordFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return record, fmt.Errorf("cluster %q %w; start it with `localkube up --name %s`", name, ErrNotRunning, name)
	}
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, fmt.Errorf("%s is damaged (%w): end the cluster with `localkube down --name %s`", recordFile(name), err, name)
	}
	return record, nil
}

// save replaces the record as a whole, so that a reader or a crash never meets half of one.
func (r Record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	// The dot keeps the unfinished file out of records().
	temporary := filepath.Join(runDir, "."+r.Name+".new")
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, recordFile(r.Name))
}

// Records are the records of all clusters.
func Records() ([]Record, error) {
	files, err := filepath.Glob(filepath.Join(runDir, "[a-z0-9]*.json"))
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, file := range files {
		record, err := Load(strings.TrimSuffix(filepath.Base(file), ".json"))
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
	if len(r.Processes) != len(Components) || r.Boot != bootID() {
		return false
	}
	for _, process := range r.Processes {
		if !process.Alive() {
			return false
		}
	}
	return true
}

func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// lock takes a lock in runDir and returns its release. While another process holds it, lock calls wait once and goes on
// trying until the context ends. The file goes with the release, so one that was waited for may not be the one others lock:
// then it is tried anew.
func lock(ctx context.Context, name string, wait func()) (release func(), err error) {
	path := filepath.Join(runDir, "."+name+".lock")
	for waited := false; ; {
		if err := os.MkdirAll(runDir, 0o755); err != nil {
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
				removeEmpty(runDir)
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
