package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// Options say how a cluster is to be started.
type Options struct {
	// Name of the cluster.
	Name string
	// Dir is its state directory; empty is [DefaultDir].
	Dir string
	// Nodes are what it is to have; nothing is what it had before a crash, or one real node.
	Nodes *Nodes
	// With are add-ons to run in it: "cert-manager".
	With []string
	// Fsync makes etcd wait for the disk, as it does in production; without, a crash of the machine loses the cluster.
	Fsync bool
	// Wait until pods are taken and names resolved; without, the answering API server is enough.
	Wait bool
	// Progress gets a line for each step.
	Progress io.Writer
}

// Up starts a cluster and returns when it takes pods. A cluster that runs is left as it is; what is left of one that does
// not, is removed first. A failed or cancelled start leaves nothing but the logs.
func Up(ctx context.Context, options Options) error {
	if err := CheckName(options.Name); err != nil {
		return err
	}
	ground, err := findGround()
	if err != nil {
		return err
	}
	registry, err := openRegistry()
	if err != nil {
		return err
	}
	release, err := registry.lock(ctx, "cluster-"+options.Name, func() {
		fmt.Fprintf(options.Progress, "waiting for another localkube that is at work on cluster %q\n", options.Name)
	})
	if err != nil {
		return err
	}
	defer release()
	steps := newProgress(options.Progress)
	old, err := registry.load(options.Name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if old.alive() {
		return old.keep(ctx, options)
	}
	options = options.orAs(old)
	nodes, bin, err := options.check(ground)
	if err != nil {
		return err
	}
	left, err := ground.names()
	if err != nil {
		return err
	}
	if old.Name != "" || slices.Contains(left, options.Name) {
		if err := teardown(ctx, registry, ground, old.orNamed(options.Name)); err != nil {
			return fmt.Errorf("remove what is left of cluster %q: %w", options.Name, err)
		}
		steps.done("removed what was left of an earlier run")
	}
	record, err := allocate(ctx, registry, ground, nodes, options)
	if err != nil {
		return err
	}
	start := &starter{
		record: record, registry: registry, wait: options.Wait, bin: bin, steps: steps, exited: make(chan error, len(Components)),
	}
	if err := start.run(ctx, ground); err != nil {
		// The context may be over; what was begun is still to be removed.
		return errors.Join(err, teardown(context.WithoutCancel(ctx), registry, ground, start.record))
	}
	fmt.Fprintf(options.Progress, "cluster %q is up at %s after %.1f s; its kubeconfig is %s\n",
		record.Name, record.Server(), time.Since(steps.begin).Seconds(), record.Kubeconfig())
	return nil
}

// orAs fills in what was not asked for with what a cluster had that crashed.
func (o Options) orAs(old Record) Options {
	if o.Nodes == nil && old.Nodes != (Nodes{}) {
		o.Nodes = &old.Nodes
		if len(o.With) == 0 && old.Nodes.Real {
			o.With = old.With
		}
	}
	return o
}

// check says what a new cluster is to have, or why it cannot.
func (o Options) check(ground ground) (Nodes, string, error) {
	nodes := Nodes{Real: true}
	if o.Nodes != nil {
		nodes = *o.Nodes
	}
	for _, name := range o.With {
		switch {
		case addons[name] == addon{}:
			return nodes, "", fmt.Errorf("--with %s: there is only cert-manager", name)
		case !nodes.Real:
			return nodes, "", fmt.Errorf("--with %s: it runs as a pod and needs a real node: say --nodes real,%s", name, nodes)
		}
	}
	bin, err := Bin()
	if err != nil {
		return nodes, "", err
	}
	return nodes, bin, ground.check(bin, nodes)
}

// keep is up on a cluster all of whose components run. However long it does not answer, it is not torn down: it may be busy,
// and it has somebody's data.
func (r Record) keep(ctx context.Context, options Options) error {
	down := fmt.Sprintf("end it first with `localkube down --name %s`", r.Name)
	if options.Fsync && !r.Fsync {
		return fmt.Errorf("cluster %q runs without --fsync: %s", r.Name, down)
	}
	if options.Nodes != nil && *options.Nodes != r.Nodes {
		return fmt.Errorf("cluster %q runs with --nodes %s: %s", r.Name, r.Nodes, down)
	}
	for _, name := range options.With {
		if !slices.Contains(r.With, name) {
			return fmt.Errorf("cluster %q runs without %s: %s", r.Name, name, down)
		}
	}
	if dir, err := filepath.Abs(options.Dir); options.Dir != "" && (err != nil || dir != r.Dir) {
		return fmt.Errorf("cluster %q runs in %s: %s", r.Name, r.Dir, down)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for r.ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster %q runs but its API server does not answer: look at `localkube logs --name %s kube-apiserver`, or %s",
				r.Name, r.Name, down)
		case <-time.After(100 * time.Millisecond):
		}
	}
	fmt.Fprintf(options.Progress, "cluster %q is already running at %s; its kubeconfig is %s\n", r.Name, r.Server(), r.Kubeconfig())
	return nil
}

// orNamed is the record, or where there is none, one that names what is found by the name alone.
func (r Record) orNamed(name string) Record {
	if r.Name == "" {
		r.Name = name
	}
	return r
}

// allocate gives the cluster its place on this machine and records it.
func allocate(ctx context.Context, registry registry, ground ground, nodes Nodes, options Options) (Record, error) {
	dir := options.Dir
	if dir == "" {
		var err error
		if dir, err = DefaultDir(options.Name); err != nil {
			return Record{}, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Record{}, err
	}
	if err := checkDir(dir); err != nil && nodes.Real {
		return Record{}, err
	}
	if options.Dir != "" {
		if err := checkContents(dir); err != nil {
			return Record{}, err
		}
	}
	release, err := registry.lock(ctx, "all", func() {})
	if err != nil {
		return Record{}, err
	}
	defer release()
	others, err := registry.records()
	if err != nil {
		return Record{}, err
	}
	for _, other := range others {
		if other.Dir == dir {
			return Record{}, fmt.Errorf("%s is the state directory of cluster %q: name another with --dir", dir, other.Name)
		}
	}
	record := Record{
		Cluster: Cluster{Name: options.Name, Dir: dir, Nodes: nodes}, Boot: bootID(), Fsync: options.Fsync, With: options.With,
	}
	if err := ground.allocate(&record.Cluster, others); err != nil {
		return Record{}, err
	}
	return record, registry.save(record)
}
