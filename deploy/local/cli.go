package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"threeport.dev/localkube/cluster"
)

// command is the command line of localkube.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "localkube",
		Short:         "A real Kubernetes, control plane and node, on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var name string
	for _, sub := range []*cobra.Command{
		upCommand(&name), downCommand(&name), statusCommand(&name), kubeconfigCommand(&name), logsCommand(&name),
	} {
		sub.Flags().StringVar(&name, "name", "local", "name of the cluster")
		root.AddCommand(sub)
	}
	root.AddCommand(imageCommand())
	return root
}

func upCommand(name *string) *cobra.Command {
	options := cluster.Options{Progress: os.Stderr}
	var nodes string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and wait until it takes pods",
		Example: "  localkube up\n" +
			"  localkube up --name many --nodes real,kwok=100\n" +
			"  localkube up --nodes kwok=3         # without root: a control plane, and nodes that run nothing",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if nodes != "" {
				parsed, err := cluster.ParseNodes(nodes)
				if err != nil {
					return err
				}
				options.Nodes = &parsed
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			options.Name = *name
			return cluster.Up(ctx, options)
		},
	}
	cmd.Flags().StringVar(&options.Dir, "dir", "", "state directory (default $HOME/.local/state/threeport/localkube/NAME)")
	cmd.Flags().StringVar(&nodes, "nodes", "", "real, kwok=K or real,kwok=K: this machine, nodes pretended by kwok, or both (default real)")
	cmd.Flags().StringSliceVar(&options.With, "with", nil, "add-ons to run in it: cert-manager")
	cmd.Flags().BoolVar(&options.Fsync, "fsync", false, "let etcd wait for the disk, as in production; for benchmarks")
	cmd.Flags().BoolVar(&options.Wait, "wait", true, "wait for nodes and DNS; with --wait=false only for the API server")
	return cmd
}

func downCommand(name *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a cluster: its processes, its pods, its data; its logs stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !all {
				return down(cmd.Context(), *name)
			}
			names, err := cluster.Names()
			for _, name := range names {
				err = errors.Join(err, down(cmd.Context(), name))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all clusters, whatever their names")
	return cmd
}

func down(ctx context.Context, name string) error {
	found, err := cluster.Down(ctx, name, func() {
		fmt.Fprintf(os.Stderr, "waiting for another localkube that is at work on cluster %q\n", name)
	})
	switch {
	case err != nil:
		return err
	case found:
		fmt.Fprintf(os.Stderr, "cluster %q is down\n", name)
	default:
		fmt.Fprintf(os.Stderr, "cluster %q was not running\n", name)
	}
	return nil
}

func statusCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show a cluster; exits 0 only when it runs and its nodes are ready, 3 when there is none",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Status(cmd.Context(), *name, os.Stdout)
		},
	}
}

func kubeconfigCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig; it holds its certificates and works from any place",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			record, err := cluster.Load(*name)
			if err != nil {
				return err
			}
			return show(record.Kubeconfig())
		},
	}
}

func logsCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:       "logs [COMPONENT]",
		Short:     "Print a component's log, or where each of them is; works after down too",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: cluster.Components,
		RunE: func(_ *cobra.Command, args []string) error {
			record, err := cluster.Load(*name)
			if errors.Is(err, cluster.ErrNotRunning) {
				record.Name = *name
				record.Dir, err = cluster.DefaultDir(*name)
			}
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return show(record.Log(args[0]))
			}
			for _, component := range cluster.Components {
				fmt.Println(record.Log(component))
			}
			return nil
		},
	}
}

// show prints a file.
func show(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(os.Stdout, file)
	return err
}
