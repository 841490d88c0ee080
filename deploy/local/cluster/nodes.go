package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// maxKwok is what a pod and a node address range of kwok nodes has room for, with pods to spare.
const maxKwok = 10000

// Nodes are the nodes of a cluster: this machine, if pods are to run, and nodes that kwok pretends.
type Nodes struct {
	// Real says that this machine is a node, on which pods run.
	Real bool
	// Kwok is how many nodes kwok pretends. Pods on them become Ready and run nothing.
	Kwok int
}

// ParseNodes reads "real", "kwok=K" or "real,kwok=K".
func ParseNodes(text string) (Nodes, error) {
	var nodes Nodes
	for part := range strings.SplitSeq(text, ",") {
		kind, count, counted := strings.Cut(part, "=")
		switch {
		case kind == "real" && !counted && !nodes.Real:
			nodes.Real = true
		case kind == "kwok" && counted && nodes.Kwok == 0:
			number, err := strconv.Atoi(count)
			if err != nil || number < 1 || number > maxKwok {
				return Nodes{}, fmt.Errorf("nodes %q: kwok=K takes a number from 1 to %d", text, maxKwok)
			}
			nodes.Kwok = number
		default:
			return Nodes{}, fmt.Errorf("nodes %q: say real, kwok=K or real,kwok=K", text)
		}
	}
	return nodes, nil
}

// String is how [ParseNodes] reads it.
func (n Nodes) String() string {
	switch {
	case n.Kwok == 0:
		return "real"
	case n.Real:
		return fmt.Sprintf("real,kwok=%d", n.Kwok)
	}
	return fmt.Sprintf("kwok=%d", n.Kwok)
}
