package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// candidate stands for election until it is ended.
type candidate struct {
	leads, led chan struct{}
	end        context.CancelFunc
}

func (s *scenario) candidate(ctx context.Context, name string, release bool) (*candidate, error) {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, "leader", s.typed.CoreV1(), s.typed.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: name})
	if err != nil {
		return nil, err
	}
	c := &candidate{leads: make(chan struct{}), led: make(chan struct{})}
	ctx, c.end = context.WithCancel(ctx)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 2 * time.Second, RenewDeadline: 1500 * time.Millisecond, RetryPeriod: 100 * time.Millisecond, ReleaseOnCancel: release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(c.leads) },
			OnStoppedLeading: func() { close(c.led) },
		},
	})
	if err != nil {
		return nil, err
	}
	go elector.Run(ctx)
	return c, nil
}

// leasesElect has three candidates: the first steps down, the second is gone without a word.
func leasesElect(ctx context.Context, s *scenario) error {
	first, err := s.candidate(ctx, "first", true)
	if err != nil {
		return err
	}
	if err := within(first.leads); err != nil {
		return fmt.Errorf("the first does not lead: %w", err)
	}
	second, err := s.candidate(ctx, "second", false)
	if err != nil {
		return err
	}
	// As long as the first renews, nobody else leads: watched over more than one term.
	renewed, err := s.renewals(ctx, "first")
	if err != nil {
		return err
	}
	select {
	case <-second.leads:
		return fmt.Errorf("two lead at once")
	default:
	}
	if renewed < 5 {
		return fmt.Errorf("renewed %d times", renewed)
	}
	holds("one leads while it renews its lease")
	first.end()
	if err := within(first.led); err != nil {
		return fmt.Errorf("the first does not step down: %w", err)
	}
	if err := within(second.leads); err != nil {
		return fmt.Errorf("the second does not lead: %w", err)
	}
	holds("the other takes over when it steps down")
	third, err := s.candidate(ctx, "third", true)
	if err != nil {
		return err
	}
	second.end()
	if err := within(third.leads); err != nil {
		return fmt.Errorf("the third does not lead: %w", err)
	}
	holds("a lease that is not renewed is taken when it has run out")
	lease, err := s.typed.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if *lease.Spec.HolderIdentity != "third" || *lease.Spec.LeaseTransitions < 2 || lease.Spec.RenewTime.Nanosecond()%1000 != 0 {
		return fmt.Errorf("the lease is %+v", lease.Spec)
	}
	holds("the lease tells who holds it and how often it changed hands")
	third.end()
	return within(third.led)
}

// renewals counts the versions of the lease over a term and a half.
func (s *scenario) renewals(ctx context.Context, holder string) (int, error) {
	watching, err := s.typed.CoordinationV1().Leases(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=leader"})
	if err != nil {
		return 0, err
	}
	defer watching.Stop()
	over := time.After(3 * time.Second)
	for count := 0; ; count++ {
		select {
		case <-over:
			return count, nil
		case event, open := <-watching.ResultChan():
			if !open {
				return count, fmt.Errorf("the watch ended, which was to see %s", holder)
			}
			if event.Type != "ADDED" && event.Type != "MODIFIED" {
				return count, fmt.Errorf("%s %v", event.Type, event.Object)
			}
		}
	}
}

func within(done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-time.After(soon):
		return fmt.Errorf("not within %s", soon)
	}
}
