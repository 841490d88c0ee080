// Command localkube runs a real Kubernetes on one machine: a control plane, one node with real pods where that is possible,
// and nodes that kwok pretends. It is made of Go modules, without Docker and without pulling images.
//
// It is one multi-call binary. Called by the name of a component (kube-apiserver, kubelet, ...), or with that name as its
// first argument, it is that component; otherwise it is the command that starts, inspects and ends clusters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"threeport.dev/localkube/cluster"
)

func main() {
	if run, args := component(os.Args); run != nil {
		os.Args = args
		run()
		return
	}
	if err := command().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "localkube:", err)
		if errors.Is(err, cluster.ErrNotRunning) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

// component finds the embedded component that the command line asks for and the command line it is to see.
func component(args []string) (run func(), rest []string) {
	if run := components[filepath.Base(args[0])]; run != nil {
		return run, args
	}
	if len(args) > 1 {
		return components[args[1]], args[1:]
	}
	return nil, nil
}
