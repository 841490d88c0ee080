package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"threeport.dev/localkube/image"
)

// PauseImage is the image of the sandbox of every pod, SystemImage that of the add-ons: this binary. They are made from files,
// as all images here are.
const (
	PauseImage  = "localkube.test/pause:1"
	SystemImage = "localkube.test/system:1"
)

// Import loads an OCI archive into a running cluster, where pods find it with imagePullPolicy IfNotPresent or Never. It
// returns the names of the images.
func (c Cluster) Import(ctx context.Context, archive string) ([]string, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "ctr"), "--address", c.containerdSocket(), "--namespace", "k8s.io",
		"images", "import", archive)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("import %s: %w: %s", archive, err, output)
	}
	var names []string
	for line := range strings.Lines(string(output)) {
		// Among progress and warnings, one line "NAME saved" for each.
		if fields := strings.Fields(line); len(fields) == 2 && fields[1] == "saved" {
			names = append(names, fields[0])
		}
	}
	return names, nil
}

// importOwn waits for containerd and gives it the images of the cluster itself.
func (c Cluster) importOwn(ctx context.Context, bin string) error {
	if !c.Nodes.Real {
		return nil
	}
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
	for _, archive := range []string{archive, filepath.Join(bin, systemArchive)} {
		if _, err := c.Import(ctx, archive); err != nil {
			return err
		}
	}
	return nil
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
