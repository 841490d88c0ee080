package cluster

import (
	"context"
	"fmt"
	"io"
)

// Status writes what there is of a cluster and returns nil only when it runs and its nodes are ready.
func Status(ctx context.Context, name string, out io.Writer) error {
	record, err := Load(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "cluster    %s\nserver     %s\nnodes      %s\n", record.Name, record.Server(), record.Nodes)
	if record.Nodes.Real {
		fmt.Fprintf(out, "node       %s at %s\n", record.Node(), record.NodeAddress())
	}
	if !record.onLoopback() {
		fmt.Fprintf(out, "netns      %s, joined by %s\n", record.netns(), record.link())
	}
	fmt.Fprintf(out, "directory  %s\n", record.Dir)
	state := map[string]string{}
	for _, process := range record.Processes {
		state[process.Component] = "ended"
		if record.Boot == bootID() && process.Alive() {
			state[process.Component] = fmt.Sprintf("running, process %d", process.ID)
		}
	}
	for _, component := range record.components() {
		if state[component] == "" {
			state[component] = "not started"
		}
		fmt.Fprintf(out, "  %-24s %s\n", component, state[component])
	}
	if !record.alive() {
		return fmt.Errorf("cluster %q is broken: `localkube up --name %s` starts it afresh", name, name)
	}
	if err := record.nodesReady(ctx); err != nil {
		return fmt.Errorf("the nodes are not ready: %w", err)
	}
	fmt.Fprintln(out, "ready")
	return nil
}
