package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
)

// pagesAreOfOneMoment reads a list in pages while it changes.
func pagesAreOfOneMoment(ctx context.Context, s *scenario) error {
	const count = 230
	api := s.typed.CoreV1().ConfigMaps("pages")
	name := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "pages"}}
	if _, err := s.typed.CoreV1().Namespaces().Create(ctx, name, metav1.CreateOptions{}); err != nil {
		return err
	}
	for number := range count {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%03d", number), Labels: map[string]string{"paged": "yes"}}}
		if _, err := api.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	calls := 0
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.LabelSelector = "paged=yes"
		list, err := api.List(ctx, options)
		if calls++; calls == 2 && err == nil {
			// What goes now was there when the list began, and what comes was not.
			err = api.Delete(ctx, "c-229", metav1.DeleteOptions{})
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c-228x", Labels: map[string]string{"paged": "yes"}}}
			if _, made := api.Create(ctx, object, metav1.CreateOptions{}); made != nil {
				err = made
			}
		}
		return list, err
	})
	pages.PageSize = 50
	next := 0
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if want := fmt.Sprintf("c-%03d", next); object.(*corev1.ConfigMap).Name != want {
			return fmt.Errorf("%s where %s should be", object.(*corev1.ConfigMap).Name, want)
		}
		next++
		return nil
	})
	if err != nil {
		return err
	}
	if next != count || calls != 5 {
		return fmt.Errorf("%d objects in %d calls", next, calls)
	}
	holds("a pager sees the list as it was when it began")
	client, err := metadata.NewForConfig(s.config)
	if err != nil {
		return err
	}
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	list, err := client.Resource(maps).Namespace("pages").List(ctx, metav1.ListOptions{Limit: 10, LabelSelector: "paged=yes"})
	if err != nil {
		return err
	}
	if len(list.Items) != 10 || list.Items[0].Name != "c-000" || list.Items[0].UID == "" || list.Continue == "" {
		return fmt.Errorf("metadata: %d items, continue %q", len(list.Items), list.Continue)
	}
	holds("the metadata client reads metadata alone")
	return nil
}
