package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// starter is one start of a cluster.
type starter struct {
	record   Record
	registry registry
	wait     bool
	bin      string
	steps    *progress
	launch   launcher
	// exited gets an error for each component that ends.
	exited chan error
}

func (s *starter) run(ctx context.Context, ground ground) error {
	c := s.record.Cluster
	if err := c.prepare(ground); err != nil {
		return err
	}
	s.steps.done("certificates and configuration")
	var err error
	if s.launch, err = ground.enter(c); err != nil {
		return err
	}
	defer s.launch.close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := s.start("containerd", "etcd", "kube-apiserver"); err != nil {
		return err
	}
	imported := make(chan error, 1)
	go func() { imported <- c.importOwn(ctx, s.bin) }()
	if err := s.await(ctx, "kube-apiserver", c.ready); err != nil {
		return err
	}
	s.steps.done("etcd and kube-apiserver")
	if err := s.start("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"); err != nil {
		return err
	}
	if err := s.populate(ctx); err != nil {
		return err
	}
	s.steps.done("objects of the cluster itself")
	if err := s.start("kwok", "volume-provisioner"); err != nil {
		return err
	}
	if err := <-imported; err != nil {
		return err
	}
	if c.Nodes.Real {
		s.steps.done("containerd, with the images of the cluster itself")
	}
	if !s.wait {
		return nil
	}
	return s.awaitReady(ctx)
}

// populate makes the objects that every cluster of its kind has.
func (s *starter) populate(ctx context.Context) error {
	c := s.record.Cluster
	manifests := []string{storageManifest}
	if c.Nodes.Real {
		manifests = append(manifests, dnsManifest)
	}
	for _, name := range s.record.With {
		definitions, err := os.ReadFile(filepath.Join(s.bin, addons[name].definitions))
		if err != nil {
			return err
		}
		manifests = append(manifests, string(definitions), addons[name].manifest)
	}
	// The namespaces of the cluster itself are made a moment after the API server says that it is ready.
	err := s.await(ctx, "kube-apiserver", func(ctx context.Context) error {
		return c.applyAll(ctx, manifests)
	})
	if err != nil || c.Nodes.Kwok == 0 {
		return err
	}
	return c.createKwokNodes(ctx)
}

// awaitReady waits for what a pod needs to be taken and to be found.
func (s *starter) awaitReady(ctx context.Context) error {
	c := s.record.Cluster
	for _, wait := range []struct {
		component, what string
		needed          bool
		condition       func(context.Context) error
	}{
		{"kubelet", "kubelet: the node is ready", c.Nodes.Real, c.nodeReady},
		{"kwok", fmt.Sprintf("kwok: %d nodes are ready", c.Nodes.Kwok), c.Nodes.Kwok > 0, c.kwokReady},
		{"kube-controller-manager", "kube-controller-manager: pods get a service account", true, c.serviceAccountReady},
		{"kube-proxy", "kube-proxy: services have addresses", c.Nodes.Real, c.proxyReady},
		{"kubelet", "CoreDNS: names are resolved", c.Nodes.Real, s.dnsReady},
		{"kubelet", "cert-manager: its pod is ready", slices.Contains(s.record.With, "cert-manager"), c.certManagerReady},
	} {
		if !wait.needed {
			continue
		}
		if err := s.await(ctx, wait.component, wait.condition); err != nil {
			return err
		}
		s.steps.done(wait.what)
	}
	return nil
}

// prepare makes all that is there before the first process.
func (c Cluster) prepare(ground ground) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	// Of a start that was broken off before it had a record, or of somebody else's cluster in this directory.
	if err := ground.clear(c); err != nil {
		return err
	}
	if err := c.removeState(); err != nil {
		return err
	}
	if err := c.mark(); err != nil {
		return err
	}
	if err := ground.prepare(c); err != nil {
		return err
	}
	if err := c.writePKI(); err != nil {
		return err
	}
	return c.writeConfig()
}

// start starts those of the components that the cluster has, and watches over them until the start is done.
func (s *starter) start(components ...string) error {
	has := s.record.components()
	for _, component := range components {
		if !slices.Contains(has, component) {
			continue
		}
		cmd, err := s.launchOne(component)
		if err != nil {
			return fmt.Errorf("start %s: %w", component, err)
		}
		since, err := startTime(cmd.Process.Pid)
		if err != nil {
			since = ""
		}
		s.record.Processes = append(s.record.Processes, Process{Component: component, ID: cmd.Process.Pid, Start: since})
		if err := s.registry.save(s.record); err != nil {
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

// launchOne starts a component, writing to its log.
func (s *starter) launchOne(component string) (*exec.Cmd, error) {
	log, err := os.OpenFile(s.record.Log(component), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path:   program(s.bin, component),
		Args:   s.record.argv(s.bin, component, s.record.Fsync),
		Dir:    s.record.Dir,
		Env:    s.record.environment(s.bin),
		Stdout: log,
		Stderr: log,
		// Of its own session: what ends localkube's terminal does not end the cluster.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	return cmd, s.launch.start(cmd)
}

// environment is what the components get to see: nothing of the caller's but where programs are. Debian keeps runc and nft
// in sbin, which a user's PATH may lack.
func (c Cluster) environment(bin string) []string {
	return []string{
		"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.path("private/home"),
		"LANG=C.UTF-8",
	}
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
