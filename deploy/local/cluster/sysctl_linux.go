package cluster

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// sysctls are the settings of the whole machine that a kubelet changes when it starts.
var sysctls = []string{
	"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
	"vm/overcommit_memory", "vm/panic_on_oom",
}

// savedSysctls are the settings before the first cluster, and the boot they are of.
type savedSysctls struct {
	Boot   string
	Values map[string]string
}

func sysctlFile() string { return filepath.Join(rootRegistry, ".sysctl") }

// saveSysctls remembers the settings unless an earlier cluster did. The caller holds the lock on all clusters.
func saveSysctls() error {
	var saved savedSysctls
	if data, err := os.ReadFile(sysctlFile()); err == nil && json.Unmarshal(data, &saved) == nil && saved.Boot == bootID() {
		return nil
	}
	saved = savedSysctls{Boot: bootID(), Values: map[string]string{}}
	for _, name := range sysctls {
		if value, err := os.ReadFile("/proc/sys/" + name); err == nil {
			saved.Values[name] = string(value)
		}
	}
	data, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return os.WriteFile(sysctlFile(), data, 0o644)
}

// restoreSysctls puts the settings back once the last cluster is gone. The caller holds the lock on all clusters.
func restoreSysctls() error {
	data, err := os.ReadFile(sysctlFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var saved savedSysctls
	if json.Unmarshal(data, &saved) == nil && saved.Boot == bootID() {
		for name, value := range saved.Values {
			if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
	}
	return os.Remove(sysctlFile())
}
