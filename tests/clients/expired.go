package main

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// expiredIsListedAgain has a server that keeps few changes, and clients that come back after more of them.
func expiredIsListedAgain(ctx context.Context, s *scenario) error {
	wire := &wire{}
	cuttable, err := kubernetes.NewForConfig(wire.over(s.config))
	if err != nil {
		return err
	}
	api := s.typed.CoreV1().ConfigMaps(namespace)
	for _, name := range []string{"stays", "goes", "changes"} {
		if err := s.configMap(ctx, name, "1"); err != nil {
			return err
		}
	}
	// The page is asked for now, the next one when it is too late.
	first, err := api.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "followed=yes"})
	if err != nil {
		return err
	}
	options := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "followed=yes" })
	informer := informers.NewSharedInformerFactoryWithOptions(cuttable, 0, options).Core().V1().ConfigMaps().Informer()
	told := &recorder{read: func(object any) string { return object.(*corev1.ConfigMap).Data["value"] }}
	if _, err := informer.AddEventHandler(told); err != nil {
		return err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("never synced")
	}
	// A watch that told nothing before it broke would not be taken up again.
	if err := s.configMap(ctx, "changes", "2"); err != nil {
		return err
	}
	err = eventually(ctx, "the informer tells a change", func() error {
		if have := told.lines(); len(have) != 4 || have[3] != "update changes 2" {
			return fmt.Errorf("have %q", have)
		}
		return nil
	})
	if err != nil {
		return err
	}
	wire.set(true)
	if err := s.meanwhile(ctx); err != nil {
		return err
	}
	// Only that a watch says so: what is asked for is no longer there.
	watching, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err != nil {
		return err
	}
	event := <-watching.ResultChan()
	if !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		return fmt.Errorf("a watch of a version that is gone: %v %v", event.Type, event.Object)
	}
	holds("a watch from a version that is gone ends with 410 Expired")
	wire.set(false)
	want := []string{"delete, missed goes 1", "add comes 3", "update changes 2", "update changes 3", "update stays 1"}
	slices.Sort(want)
	err = eventually(ctx, "what the informer tells", func() error {
		have := slices.DeleteFunc(told.lines(), func(line string) bool { return line[:5] == "first" })
		slices.Sort(have)
		if !slices.Equal(have, want) {
			return fmt.Errorf("have %q, want %q", have, want)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if wire.resumed.Load() != 1 || wire.streamed.Load() != 2 || wire.listed.Load() != 0 {
		return fmt.Errorf("%d watches taken up, %d streamed lists, %d others", wire.resumed.Load(), wire.streamed.Load(), wire.listed.Load())
	}
	holds("an informer that is told so lists again, and tells what it missed")
	return s.laterPages(ctx, first)
}

// meanwhile makes more changes than the server keeps.
func (s *scenario) meanwhile(ctx context.Context) error {
	api := s.typed.CoreV1().ConfigMaps(namespace)
	if err := api.Delete(ctx, "goes", metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, name := range []string{"changes", "comes"} {
		if err := s.configMap(ctx, name, "3"); err != nil {
			return err
		}
	}
	if err := s.configMap(ctx, "other", ""); err != nil {
		return err
	}
	for number := range 250 {
		patch := fmt.Sprintf(`{"data":{"value":"%d"}}`, number)
		if _, err := api.Patch(ctx, "other", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// configMap writes one, with the label that is followed, except for the other.
func (s *scenario) configMap(ctx context.Context, name, value string) error {
	api := s.typed.CoreV1().ConfigMaps(namespace)
	return createOrUpdate(ctx, api.Get, api.Create, api.Update, &corev1.ConfigMap{}, name, func(object *corev1.ConfigMap) {
		object.Name, object.Data = name, map[string]string{"value": value}
		if name != "other" {
			object.Labels = map[string]string{"followed": "yes"}
		}
	})
}

// laterPages goes on with a list whose moment is gone: refused with a token for the rest, and the pager then reads it whole.
func (s *scenario) laterPages(ctx context.Context, first *corev1.ConfigMapList) error {
	api := s.typed.CoreV1().ConfigMaps(namespace)
	_, err := api.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "followed=yes", Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) || status(err).ListMeta.Continue == "" {
		return fmt.Errorf("a page of a list that is gone: %v", err)
	}
	holds("a later page of a list that is gone is refused with 410 and a token for the rest")
	rest, err := api.List(ctx, metav1.ListOptions{LabelSelector: "followed=yes", Continue: status(err).ListMeta.Continue})
	if err != nil {
		return err
	}
	holds("the token gives the rest as it is now: %d", len(rest.Items))
	calls := 0
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if calls++; calls == 2 {
			options.Continue = first.Continue
		}
		options.LabelSelector = "followed=yes"
		return api.List(ctx, options)
	})
	pages.PageSize = 2
	whole, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if items := whole.(*corev1.ConfigMapList).Items; len(items) != 3 || calls != 3 {
		return fmt.Errorf("%d items in %d calls", len(items), calls)
	}
	holds("a pager then reads the list whole")
	return nil
}
