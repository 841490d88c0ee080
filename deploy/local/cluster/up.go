package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options say how a cluster is to be started.
type Options struct {
	// Name of the cluster.
	Name string
	// Dir is its state directory; empty is [DefaultDir].
	Dir string
	// Fsync makes etcd wait for the disk, as it does in production; without, a crash of the machine loses the cluster.
	Fsync bool
	// Wait for the node to be ready; without, the answering API server is enough.
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
	bin, err := Bin()
	if err != nil {
		return err
	}
	if err := preflight(bin); err != nil {
		return err
	}
	release, err := lock(ctx, "cluster-"+options.Name, func() {
		fmt.Fprintf(options.Progress, "waiting for another localkube that is at work on cluster %q\n", options.Name)
	})
	if err != nil {
		return err
	}
	defer release()
	steps := newProgress(options.Progress)
	old, err := Load(options.Name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if old.alive() {
		return old.keep(ctx, options)
	}
	groups, err := findCgroups()
	if err != nil {
		return err
	}
	if old.Name != "" || groups.exists("localkube/"+options.Name) {
		if err := teardown(ctx, old.orNamed(options.Name), groups); err != nil {
			return fmt.Errorf("remove what is left of cluster %q: %w", options.Name, err)
		}
		steps.done("removed what was left of an earlier run")
	}
	record, err := allocate(ctx, options)
	if err != nil {
		return err
	}
	start := &starter{record: record, wait: options.Wait, bin: bin, groups: groups, steps: steps, exited: make(chan error, len(Components))}
	if err := start.run(ctx); err != nil {
		// The context may be over; what was begun is still to be removed.
		return errors.Join(err, teardown(context.WithoutCancel(ctx), start.record, groups))
	}
	fmt.Fprintf(options.Progress, "cluster %q is up at %s after %.1f s; its kubeconfig is %s\n",
		record.Name, record.Server(), time.Since(steps.begin).Seconds(), record.Kubeconfig())
	return nil
}

// keep is up on a cluster all of whose components run. However long it does not answer, it is not torn down: it may be busy,
// and it has somebody's data.
func (r Record) keep(ctx context.Context, options Options) error {
	down := fmt.Sprintf("end it first with `localkube down --name %s`", r.Name)
	if options.Fsync && !r.Fsync {
		return fmt.Errorf("cluster %q runs without --fsync: %s", r.Name, down)
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

// allocate picks a number for the cluster and records it.
func allocate(ctx context.Context, options Options) (Record, error) {
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
	if err := checkDir(dir); err != nil {
		return Record{}, err
	}
	release, err := lock(ctx, "all", func() {})
	if err != nil {
		return Record{}, err
	}
	defer release()
	others, err := Records()
	if err != nil {
		return Record{}, err
	}
	taken := map[int]bool{}
	for _, other := range others {
		if other.Dir == dir {
			return Record{}, fmt.Errorf("%s is the state directory of cluster %q: name another with --dir", dir, other.Name)
		}
		taken[other.Number] = true
	}
	number, err := freeNumber(taken)
	if err != nil {
		return Record{}, err
	}
	if err := saveSysctls(); err != nil {
		return Record{}, err
	}
	record := Record{Cluster: Cluster{Name: options.Name, Dir: dir, Number: number}, Boot: bootID(), Fsync: options.Fsync}
	return record, record.save()
}

// starter is one start of a cluster.
type starter struct {
	record Record
	wait   bool
	bin    string
	groups cgroups
	steps  *progress
	// exited gets an error for each component that ends.
	exited chan error
}

func (s *starter) run(ctx context.Context) error {
	c := s.record.Cluster
	if err := c.prepare(s.groups); err != nil {
		return err
	}
	s.steps.done("network namespace, cgroup, certificates and configuration")
	launch, err := newLauncher(c, s.groups)
	if err != nil {
		return err
	}
	defer launch.close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := s.start(launch, "containerd", "etcd", "kube-apiserver"); err != nil {
		return err
	}
	paused := make(chan error, 1)
	go func() { paused <- c.importPause(ctx, s.bin) }()
	if err := s.await(ctx, "kube-apiserver", c.ready); err != nil {
		return err
	}
	s.steps.done("etcd and kube-apiserver")
	if err := <-paused; err != nil {
		return err
	}
	s.steps.done("containerd, with the pause image")
	if err := s.start(launch, "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"); err != nil {
		return err
	}
	if !s.wait {
		return nil
	}
	for _, wait := range []struct {
		component, what string
		condition       func(context.Context) error
	}{
		{"kubelet", "kubelet: the node is ready", c.nodeReady},
		{"kube-controller-manager", "kube-controller-manager: pods get a service account", c.serviceAccountReady},
		{"kube-proxy", "kube-proxy: services have addresses", c.proxyReady},
	} {
		if err := s.await(ctx, wait.component, wait.condition); err != nil {
			return err
		}
		s.steps.done(wait.what)
	}
	return nil
}

// prepare makes all that is there before the first process.
func (c Cluster) prepare(groups cgroups) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	if err := unmountBelow(c.Dir); err != nil {
		return err
	}
	if err := c.removeState(); err != nil {
		return err
	}
	if err := c.createNetwork(); err != nil {
		return err
	}
	if err := groups.create(c.cgroup()); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if err := c.writePKI(); err != nil {
		return err
	}
	return c.writeConfig()
}

// start starts components and watches over them until the start is done.
func (s *starter) start(launch *launcher, components ...string) error {
	for _, component := range components {
		cmd, err := launch.start(s.bin, s.record.argv(component, s.record.Fsync))
		if err != nil {
			return err
		}
		since, err := startTime(cmd.Process.Pid)
		if err != nil {
			since = ""
		}
		s.record.Processes = append(s.record.Processes, Process{Component: component, ID: cmd.Process.Pid, Start: since})
		if err := s.record.save(); err != nil {
			return err
		}
		go func() {
			err := cmd.Wait()
			s.exited <- fmt.Errorf("%s ended (%v); the end of its log %s:\n%s",
				component, err, s.record.Log(component), tail(s.record.Log(component)))
		}()
	}
	return nil
}

// await asks until the condition holds. It gives up when a component ends, the time is over or the user says so.
func (s *starter) await(ctx context.Context, component string, condition func(context.Context) error) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		pending := condition(ctx)
		if pending == nil {
			return nil
		}
		select {
		case err := <-s.exited:
			return err
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return errInterrupted
			}
			return fmt.Errorf("%s is not ready after %.0f s (%v); the end of its log %s:\n%s", component,
				time.Since(s.steps.begin).Seconds(), pending, s.record.Log(component), tail(s.record.Log(component)))
		case <-tick.C:
		}
	}
}

// progress prints a line for each step, with the time it took and the time since the beginning.
type progress struct {
	out         io.Writer
	begin, last time.Time
}

func newProgress(out io.Writer) *progress {
	now := time.Now()
	return &progress{out: out, begin: now, last: now}
}

func (p *progress) done(step string) {
	now := time.Now()
	fmt.Fprintf(p.out, "%6.2f s  %s\n", now.Sub(p.last).Seconds(), step)
	p.last = now
}
