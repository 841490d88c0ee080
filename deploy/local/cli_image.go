package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"threeport.dev/localkube/cluster"
	"threeport.dev/localkube/image"
)

func imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Make images from local files, and load them into a cluster"}
	cmd.AddCommand(imageBuildCommand(), imageImportCommand())
	return cmd
}

func imageBuildCommand() *cobra.Command {
	var spec image.Spec
	var output, name string
	cmd := &cobra.Command{
		Use:   "build IMAGE SRC:DST...",
		Short: "Make an OCI image from files and directories; the same files give the same bytes",
		Example: "  localkube image build web.test/web:1 --entrypoint /bin/busybox,httpd,-f,-p,8080,-h,/www --name local \\\n" +
			"    /bin/busybox:/bin/busybox index.html:/www/index.html",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			for _, arg := range args[1:] {
				file, err := image.ParseFile(arg)
				if err != nil {
					return err
				}
				spec.Files = append(spec.Files, file)
			}
			return buildImage(cmd.Context(), spec, output, name)
		},
	}
	cmd.Flags().StringSliceVar(&spec.Entrypoint, "entrypoint", nil, "program and first arguments, separated by commas")
	cmd.Flags().StringArrayVar(&spec.Env, "env", nil, "environment variable as KEY=VALUE; may be repeated")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the OCI archive to this file")
	cmd.Flags().StringVar(&name, "name", "", "import the image into this cluster")
	return cmd
}

func buildImage(ctx context.Context, spec image.Spec, output, name string) error {
	if output == "" && name == "" {
		return errors.New("say where the image is to go: --output FILE, --name CLUSTER, or both")
	}
	if output == "" {
		temporary, err := os.CreateTemp("", "localkube-*.tar")
		if err != nil {
			return err
		}
		temporary.Close()
		output = temporary.Name()
		defer os.Remove(output)
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err := spec.Write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if name != "" {
		return importImage(ctx, output, name)
	}
	full, err := image.Normalize(spec.Name)
	fmt.Println(full)
	return err
}

func imageImportCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Load an OCI or Docker archive into a cluster",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importImage(cmd.Context(), args[0], name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "local", "name of the cluster")
	return cmd
}

func importImage(ctx context.Context, archive, name string) error {
	record, err := cluster.Load(name)
	if err != nil {
		return err
	}
	if !record.Nodes.Real {
		return fmt.Errorf("cluster %q has no real node that could use an image", name)
	}
	names, err := record.Import(ctx, archive)
	for _, imported := range names {
		fmt.Println(imported)
	}
	return err
}
