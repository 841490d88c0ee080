package cluster

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoRealNodes says why no pod can run here, and what can.
var errNoRealNodes = errors.New("real pods need root, to make namespaces and cgroups: run it with sudo, or start a control plane " +
	"with nodes that kwok pretends: `localkube up --nodes kwok=3`")

func findGround() (ground, error) {
	if !privileged() {
		return loopback{}, nil
	}
	groups, err := findCgroups()
	return isolated{groups}, err
}

// privileged says whether we may make namespaces, mounts and links. Root of an ordinary container may not.
func privileged() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || os.Geteuid() != 0 {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			held, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
			return err == nil && held&needed == needed
		}
	}
	return false
}

// rootRegistry is where root's clusters are, for all to see. It may outlive a reboot (on some machines /run is on disk).
const rootRegistry = "/run/localkube"

func registryDir() (string, error) {
	if privileged() {
		return rootRegistry, nil
	}
	return userRegistry()
}

func mountsIn(dir string) ([]string, error) { return mountsBelow("/proc/self/mountinfo", dir) }
