package cluster

import (
	"context"
	"fmt"
	"io"
)

// Status writes what there is of a cluster and returns nil only when it runs and its node is ready.
func Status(ctx context.Context, name string, out io.Writer) error {
	record, err := Load(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "cluster    %s\nserver     %s\nnode       %s at %s\nnetns      %s, joined by %s\ndirectory  %s\n",
		record.Name, record.Server(), record.Node(), record.NodeAddress(), record.netns(), record.link(), record.Dir)
	state := map[string]string{}
	for _, process := range record.Processes {
		state[process.Component] = "ended"
		if record.Boot == bootID() && process.Alive() {
			state[process.Component] = fmt.Sprintf("running, process %d", process.ID)
		}
	}
	for _, component := range Components {
		if state[component] == "" {
			state[component] = "not started"
		}
		fmt.Fprintf(out, "  %-24s %s\n", component, state[component])
	}
	if !record.alive() {
		return fmt.Errorf("cluster %q is broken: `localkube up --name %s` starts it afresh", name, name)
	}
	if err := record.nodeReady(ctx); err != nil {
		return fmt.Errorf("the node is not ready: %w", err)
	}
	fmt.Fprintln(out, "ready")
	return nil
}
