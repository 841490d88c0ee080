package main

import (
	"context"
	"fmt"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
)

// discoveryMaps finds kinds as every generic client does, and scales what it found.
func discoveryMaps(ctx context.Context, s *scenario) error {
	if err := s.defineGadgets(ctx); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(s.config)
	if err != nil {
		return err
	}
	if _, err := client.ServerVersion(); err != nil {
		return err
	}
	aggregated, err := resources(client)
	if err != nil {
		return err
	}
	legacy, err := resources(client.WithLegacy())
	if err != nil {
		return err
	}
	if !slices.Equal(aggregated, legacy) {
		return fmt.Errorf("aggregated %q, legacy %q", aggregated, legacy)
	}
	for _, name := range []string{"v1 configmaps", "coordination.k8s.io/v1 leases", "clients.example.org/v1 gadgets", "clients.example.org/v1 gadgets/scale"} {
		if !slices.Contains(aggregated, name) {
			return fmt.Errorf("%s is not in %q", name, aggregated)
		}
	}
	holds("both forms of discovery tell the same kinds, a user's among them")
	cached := memory.NewMemCacheClient(client)
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	mapper := restmapper.NewShortcutExpander(deferred, cached, nil)
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: gadgets.Group, Kind: "Gadget"})
	if err != nil {
		return err
	}
	if mapping.Resource != gadgets || mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return fmt.Errorf("mapped to %v, %s", mapping.Resource, mapping.Scope.Name())
	}
	short, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: "gd"})
	if err != nil || short != gadgets {
		return fmt.Errorf("gd is %v: %w", short, err)
	}
	if _, err := mapper.RESTMapping(schema.GroupKind{Group: gadgets.Group, Kind: "Nothing"}); !meta.IsNoMatchError(err) {
		return fmt.Errorf("a kind that is not there: %v", err)
	}
	holds("a RESTMapper maps kinds, resources and short names")
	documents, err := client.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	document := documents["apis/clients.example.org/v1"]
	if document == nil {
		return fmt.Errorf("no OpenAPI of the user's kind")
	}
	if text, err := document.Schema("application/json"); err != nil || len(text) == 0 {
		return fmt.Errorf("OpenAPI: %w", err)
	}
	holds("OpenAPI v3 is found by group and version")
	return s.scales(ctx, deferred, client)
}

func resources(client discovery.DiscoveryInterface) ([]string, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, list := range lists {
		for _, resource := range list.APIResources {
			names = append(names, list.GroupVersion+" "+resource.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *scenario) scales(ctx context.Context, mapper meta.RESTMapper, client discovery.DiscoveryInterface) error {
	api := s.any.Resource(gadgets).Namespace(namespace)
	if _, err := api.Create(ctx, gadget("scaled", 1), metav1.CreateOptions{}); err != nil {
		return err
	}
	kinds := scale.NewDiscoveryScaleKindResolver(client)
	scales, err := scale.NewForConfig(s.config, mapper, dynamic.LegacyAPIPathResolverFunc, kinds)
	if err != nil {
		return err
	}
	group := gadgets.GroupResource()
	var read *autoscalingv1.Scale
	if read, err = scales.Scales(namespace).Get(ctx, group, "scaled", metav1.GetOptions{}); err != nil {
		return err
	}
	read.Spec.Replicas += 2
	updated, err := scales.Scales(namespace).Update(ctx, group, read, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	if updated.Spec.Replicas != 3 {
		return fmt.Errorf("scaled to %d", updated.Spec.Replicas)
	}
	patched, err := scales.Scales(namespace).Patch(ctx, gadgets, "scaled", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	object, err := api.Get(ctx, "scaled", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if size, _, _ := unstructured.NestedInt64(object.Object, "spec", "size"); size != 5 || patched.Spec.Replicas != 5 {
		return fmt.Errorf("patched to %d, the object says %d", patched.Spec.Replicas, size)
	}
	holds("the scale client reads, updates and patches a user's kind")
	return nil
}
