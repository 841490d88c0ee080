package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
)

const (
	writers    = 2
	increments = 100
)

// stormsLoseNothing has writers count in the same object, on what each read.
func stormsLoseNothing(ctx context.Context, s *scenario) error {
	if err := s.defineGadgets(ctx); err != nil {
		return err
	}
	maps, api := s.typed.CoreV1().ConfigMaps(namespace), s.any.Resource(gadgets).Namespace(namespace)
	empty := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "storm"}, Data: map[string]string{"count": "0"}}
	if _, err := maps.Create(ctx, empty, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := api.Create(ctx, gadget("storm", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	err := storm("typed updates", func() error {
		object, err := maps.Get(ctx, "storm", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var count int
		if _, err := fmt.Sscan(object.Data["count"], &count); err != nil {
			return err
		}
		object.Data["count"] = fmt.Sprint(count + 1)
		_, err = maps.Update(ctx, object, metav1.UpdateOptions{})
		return err
	}, func() (string, error) {
		object, err := maps.Get(ctx, "storm", metav1.GetOptions{})
		return object.Data["count"], err
	})
	if err != nil {
		return err
	}
	size := func() (string, error) {
		object, err := api.Get(ctx, "storm", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		size, _, err := unstructured.NestedInt64(object.Object, "spec", "size")
		return fmt.Sprint(size), err
	}
	return storm("merge patches with a version", func() error {
		object, err := api.Get(ctx, "storm", metav1.GetOptions{})
		if err != nil {
			return err
		}
		size, _, _ := unstructured.NestedInt64(object.Object, "spec", "size")
		patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q},"spec":{"size":%d}}`, object.GetResourceVersion(), size+1)
		_, err = api.Patch(ctx, "storm", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}, size)
}

func storm(what string, increment func() error, read func() (string, error)) error {
	var conflicts atomic.Int64
	done := make(chan error, writers)
	// More patience than the default: it must end by counting, not by giving up.
	backoff := wait.Backoff{Steps: 1000, Duration: time.Millisecond, Factor: 1, Jitter: 1}
	for range writers {
		go func() {
			var err error
			for range increments {
				err = retry.RetryOnConflict(backoff, func() error {
					err := increment()
					if apierrors.IsConflict(err) {
						conflicts.Add(1)
					}
					return err
				})
				if err != nil {
					break
				}
			}
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	count, err := read()
	if err != nil {
		return err
	}
	if count != fmt.Sprint(writers*increments) || conflicts.Load() == 0 {
		return fmt.Errorf("%s: counted to %s with %d conflicts", what, count, conflicts.Load())
	}
	holds("%s: two writers lose nothing", what)
	return nil
}
