package cluster

import (
	"net"
	"os/exec"
)

// ground is what a cluster stands on: it keeps its processes together and apart from all others. There are two, see
// [isolated] and [loopback]; which one it is depends on the machine and on who asks, so it is the same for all clusters that
// one user sees.
type ground interface {
	// check says what is missing for such nodes, all of it, and how to get it.
	check(bin string, nodes Nodes) error
	// allocate gives a new cluster its addresses. The caller holds the lock on all clusters.
	allocate(c *Cluster, others []Record) error
	// prepare makes what has to be there before the first process, in an empty directory.
	prepare(c Cluster) error
	// enter makes ready to start processes.
	enter(c Cluster) (launcher, error)
	// names are the clusters of which something is left, by what is found of them without their records.
	names() ([]string, error)
	// clear ends every process of a cluster and removes all that it has outside its directory.
	clear(c Cluster) error
	// restore puts back what all clusters had changed, when the last is gone. The caller holds the lock on all clusters.
	restore() error
}

// launcher starts a cluster's processes and speaks to them from where they are.
type launcher interface {
	start(cmd *exec.Cmd) error
	dial(network, address string) (net.Conn, error)
	close()
}
