//go:build !linux

package cluster

import "errors"

// errNoRealNodes says why no pod can run here, and what can.
var errNoRealNodes = errors.New("real pods need Linux and root: use a Linux machine or a virtual one, or start a control plane " +
	"with nodes that kwok pretends: `localkube up --nodes kwok=3`")

func findGround() (ground, error) { return loopback{}, nil }

// rootRegistry is on Linux alone.
const rootRegistry = ""

func privileged() bool { return false }

func registryDir() (string, error) { return userRegistry() }

func mountsIn(string) ([]string, error) { return nil, nil }
