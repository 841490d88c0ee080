package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/features"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

var notes = schema.GroupVersionResource{Group: "test.threeport.dev", Version: "v1", Resource: "notes"}

// seen is what an informer was asked to follow, and what it told.
type seen struct {
	name     string
	informer cache.SharedIndexInformer
	told     *recorder
	wire     *wire
	// write makes version `value` of an object, delete removes it.
	write  func(ctx context.Context, name string, value int64) error
	delete func(ctx context.Context, name string) error
}

// informersFollow has informers on a built-in kind, on a user's and on a plugin's, over a restart of the server.
func informersFollow(ctx context.Context, s *scenario) error {
	if err := s.defineGadgets(ctx); err != nil {
		return err
	}
	all, err := s.follow()
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := one.write(ctx, "before", 1); err != nil {
			return err
		}
		if _, err := one.informer.AddEventHandler(one.told); err != nil {
			return err
		}
		go one.informer.RunWithContext(ctx)
	}
	for _, one := range all {
		if err := one.sees(ctx); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return overRestart(ctx, s, all)
}

func (s *scenario) follow() ([]*seen, error) {
	maps, custom, plugged := &wire{}, &wire{}, &wire{}
	typed, err := kubernetes.NewForConfig(maps.over(s.config))
	if err != nil {
		return nil, err
	}
	options := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "followed=yes" })
	factory := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace(namespace), options)
	all := []*seen{{
		name:     "ConfigMap",
		informer: factory.Core().V1().ConfigMaps().Informer(),
		told:     &recorder{read: func(object any) string { return object.(*corev1.ConfigMap).Data["value"] }},
		wire:     maps,
		write: func(ctx context.Context, name string, value int64) error {
			api := typed.CoreV1().ConfigMaps(namespace)
			data := map[string]string{"value": fmt.Sprint(value)}
			return createOrUpdate(ctx, api.Get, api.Create, api.Update, &corev1.ConfigMap{}, name, func(object *corev1.ConfigMap) {
				object.Name, object.Labels, object.Data = name, map[string]string{"followed": "yes"}, data
			})
		},
		delete: func(ctx context.Context, name string) error {
			api := typed.CoreV1().ConfigMaps(namespace)
			return deleted(ctx, name, api.Get, api.Delete)
		},
	}}
	for _, dynamics := range []struct {
		resource    schema.GroupVersionResource
		kind, field string
		wire        *wire
	}{{gadgets, "Gadget", "size", custom}, {notes, "Note", "text", plugged}} {
		one, err := s.followAny(dynamics.resource, dynamics.kind, dynamics.field, dynamics.wire)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (s *scenario) followAny(resource schema.GroupVersionResource, kind, field string, wire *wire) (*seen, error) {
	client, err := dynamic.NewForConfig(wire.over(s.config))
	if err != nil {
		return nil, err
	}
	api := client.Resource(resource).Namespace(namespace)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	get := func(ctx context.Context, name string, options metav1.GetOptions) (*unstructured.Unstructured, error) {
		return api.Get(ctx, name, options)
	}
	create := func(ctx context.Context, object *unstructured.Unstructured, options metav1.CreateOptions) (*unstructured.Unstructured, error) {
		return api.Create(ctx, object, options)
	}
	update := func(ctx context.Context, object *unstructured.Unstructured, options metav1.UpdateOptions) (*unstructured.Unstructured, error) {
		return api.Update(ctx, object, options)
	}
	return &seen{
		name:     kind,
		informer: factory.ForResource(resource).Informer(),
		told: &recorder{read: func(object any) string {
			value, _, _ := unstructured.NestedFieldNoCopy(object.(*unstructured.Unstructured).Object, "spec", field)
			return fmt.Sprint(value)
		}},
		wire: wire,
		write: func(ctx context.Context, name string, value int64) error {
			return createOrUpdate(ctx, get, create, update, &unstructured.Unstructured{}, name, func(object *unstructured.Unstructured) {
				var wanted any = value
				if field == "text" {
					wanted = fmt.Sprint(value)
				}
				if object.Object == nil {
					object.Object = map[string]any{}
				}
				object.SetGroupVersionKind(resource.GroupVersion().WithKind(kind))
				object.SetName(name)
				_ = unstructured.SetNestedField(object.Object, wanted, "spec", field)
			})
		},
		delete: func(ctx context.Context, name string) error {
			remove := func(ctx context.Context, name string, options metav1.DeleteOptions) error {
				return api.Delete(ctx, name, options)
			}
			return deleted(ctx, name, get, remove)
		},
	}, nil
}

// createOrUpdate writes on top of what is there, and again if somebody else wrote in between.
func createOrUpdate[T metav1.Object](
	ctx context.Context,
	get func(context.Context, string, metav1.GetOptions) (T, error),
	create func(context.Context, T, metav1.CreateOptions) (T, error),
	update func(context.Context, T, metav1.UpdateOptions) (T, error),
	empty T, name string, set func(T),
) error {
	for {
		object, err := get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			set(empty)
			_, err = create(ctx, empty, metav1.CreateOptions{})
		case err == nil:
			set(object)
			_, err = update(ctx, object, metav1.UpdateOptions{})
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
}

// deleted deletes an object and waits until it is gone: a plugin's kind is cleaned up first.
func deleted[T any](
	ctx context.Context, name string,
	get func(context.Context, string, metav1.GetOptions) (T, error),
	remove func(context.Context, string, metav1.DeleteOptions) error,
) error {
	if err := remove(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return eventually(ctx, name+" is gone", func() error {
		_, err := get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
}

func streams() bool { return features.FeatureGates().Enabled(features.WatchListClient) }

// sees checks that each change is told once and in order.
func (one *seen) sees(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), one.informer.HasSynced) {
		return fmt.Errorf("never synced")
	}
	for _, step := range []func() error{
		func() error { return one.write(ctx, "a", 1) },
		func() error { return one.write(ctx, "a", 2) },
		func() error { return one.write(ctx, "b", 1) },
		func() error { return one.write(ctx, "a", 3) },
		func() error { return one.delete(ctx, "a") },
		func() error { return one.write(ctx, "a", 4) },
		func() error { return one.delete(ctx, "b") },
		func() error { return one.write(ctx, "last", 1) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	want := []string{"first before 1", "add a 1", "update a 2", "add b 1", "update a 3", "delete a 3", "add a 4", "delete b 1", "add last 1"}
	err := eventually(ctx, "what the informer tells", func() error {
		if have := one.values(); !slices.Equal(have, want) {
			return fmt.Errorf("have %q, want %q", have, want)
		}
		return nil
	})
	if err != nil {
		return err
	}
	holds("%s: the informer tells each change once and in order", one.name)
	// Clients of before 0.35 do not stream by themselves.
	streamed, listed := one.wire.streamed.Load(), one.wire.listed.Load()
	switch {
	case streams() && streamed == 1 && listed == 0:
		holds("%s: its list is streamed", one.name)
	case !streams() && streamed == 0 && listed == 1:
		holds("%s: its list is read at once", one.name)
	default:
		return fmt.Errorf("%d streamed and %d other lists", streamed, listed)
	}
	if one.name == "ConfigMap" {
		if one.wire.protobuf.Load() == 0 {
			return fmt.Errorf("the typed client does not write protobuf any more: nothing is proved about it")
		}
		holds("%s: written as protobuf", one.name)
	}
	return nil
}

// values are what was told, without what only says again that an object is as it was: a plugin writes status.
func (one *seen) values() []string {
	last := map[string]string{}
	var out []string
	for _, line := range one.told.lines() {
		words := strings.Fields(line)
		kind, name, value := words[0], words[1], words[2]
		if kind == "update" && last[name] == value {
			continue
		}
		last[name] = value
		if kind == "delete" {
			delete(last, name)
		}
		out = append(out, line)
	}
	return out
}

// overRestart writes while the server is killed and started again, and holds what the informers told against what was written.
func overRestart(ctx context.Context, s *scenario, all []*seen) error {
	const count = 200
	written := make(chan error, len(all))
	halfway := make(chan struct{}, len(all))
	for _, one := range all {
		go func() { written <- one.count(ctx, count, halfway) }()
	}
	for range all {
		<-halfway
	}
	if err := s.restart(); err != nil {
		return err
	}
	for range all {
		if err := <-written; err != nil {
			return err
		}
	}
	for _, one := range all {
		// Every number once, since each was stored: an answer that was lost does not make a write happen twice.
		want := []string{"add counter 1"}
		for number := 2; number <= count; number++ {
			want = append(want, fmt.Sprintf("update counter %d", number))
		}
		err := eventually(ctx, one.name+": what the informer tells over a restart", func() error {
			have := slices.DeleteFunc(one.values(), func(line string) bool { return !strings.Contains(line, " counter ") })
			if !slices.Equal(have, want) {
				return fmt.Errorf("%d lines: %q", len(have), have)
			}
			return nil
		})
		if err != nil {
			return err
		}
		holds("%s: over a restart the informer misses nothing and tells nothing twice", one.name)
		lists, resumed := one.wire.streamed.Load()+one.wire.listed.Load(), one.wire.resumed.Load()
		if lists != 1 || resumed == 0 {
			return fmt.Errorf("%s: %d lists, %d watches that went on", one.name, lists, resumed)
		}
		holds("%s: it goes on where it was, without a list", one.name)
		if have := len(one.informer.GetStore().List()); have != 4 {
			return fmt.Errorf("%s: %d objects in the cache", one.name, have)
		}
	}
	return nil
}

// count writes the numbers up to `upto` into one object, whatever the network does meanwhile.
func (one *seen) count(ctx context.Context, upto int64, halfway chan<- struct{}) error {
	for number := int64(1); number <= upto; number++ {
		for {
			err := one.write(ctx, "counter", number)
			if err == nil {
				break
			}
			if _, known := err.(apierrors.APIStatus); known && !apierrors.IsServiceUnavailable(err) {
				return fmt.Errorf("%s: write %d: %w", one.name, number, err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		if number == upto/2 {
			halfway <- struct{}{}
		}
	}
	return nil
}
