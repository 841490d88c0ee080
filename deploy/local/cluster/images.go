package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"threeport.dev/localkube/image"
)

// PauseImage is the image of the sandbox of every pod. It is made from a file, as all images here are.
const PauseImage = "localkube.test/pause:1"

// Import loads an OCI archive into a running cluster, where pods find it with imagePullPolicy IfNotPresent or Never. What
// it imported goes to out.
func (c Cluster) Import(ctx context.Context, archive string, out io.Writer) error {
	bin, err := Bin()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "ctr"), "--address", c.containerdSocket(), "--namespace", "k8s.io",
		"images", "import", archive)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, output)
	}
	_, err = out.Write(output)
	return err
}

// importPause waits for containerd and gives it the pause image.
func (c Cluster) importPause(ctx context.Context, bin string) error {
	spec := image.Spec{
		Name:       PauseImage,
		Entrypoint: []string{"/pause"},
		Files:      []image.File{{Source: filepath.Join(bin, "pause"), Target: "/pause"}},
	}
	archive := c.path("pause.tar")
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := spec.Write(file); err != nil {
		return err
	}
	if err := c.awaitContainerd(ctx); err != nil {
		return err
	}
	return c.Import(ctx, archive, io.Discard)
}

func (c Cluster) awaitContainerd(ctx context.Context) error {
	for {
		connection, err := net.Dial("unix", c.containerdSocket())
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer (%w); the end of its log %s:\n%s", err, c.Log("containerd"), tail(c.Log("containerd")))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
