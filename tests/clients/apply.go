package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// applyKnowsItsManagers applies from two managers, to a user's kind without types and to a built-in one with them.
func applyKnowsItsManagers(ctx context.Context, s *scenario) error {
	if err := s.defineGadgets(ctx); err != nil {
		return err
	}
	api := s.any.Resource(gadgets).Namespace(namespace)
	if _, err := api.Apply(ctx, "one", gadget("one", 1), metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		return err
	}
	theirs := gadget("one", 2)
	_ = unstructured.SetNestedField(theirs.Object, "red", "spec", "colour")
	_, err := api.Apply(ctx, "one", theirs, metav1.ApplyOptions{FieldManager: "second"})
	details := status(err).Details
	if !apierrors.IsConflict(err) || details == nil || len(details.Causes) != 1 {
		return fmt.Errorf("no conflict with one cause: %v", err)
	}
	if cause := details.Causes[0]; cause.Type != metav1.CauseTypeFieldManagerConflict || cause.Field != ".spec.size" {
		return fmt.Errorf("the cause is %+v", cause)
	}
	holds("a second manager is refused with the field that the first one has")
	forced, err := api.Apply(ctx, "one", theirs, metav1.ApplyOptions{FieldManager: "second", Force: true})
	if err != nil {
		return err
	}
	if size, _, _ := unstructured.NestedInt64(forced.Object, "spec", "size"); size != 2 {
		return fmt.Errorf("size %d", size)
	}
	holds("by force it takes the field over")
	theirs = gadget("one", 2)
	left, err := api.Apply(ctx, "one", theirs, metav1.ApplyOptions{FieldManager: "second"})
	if err != nil {
		return err
	}
	if _, there, _ := unstructured.NestedString(left.Object, "spec", "colour"); there {
		return fmt.Errorf("the colour is still there")
	}
	holds("what a manager does not apply any more is removed")
	state := gadget("one", 0)
	delete(state.Object, "spec")
	_ = unstructured.SetNestedField(state.Object, int64(2), "status", "size")
	applied, err := api.ApplyStatus(ctx, "one", state, metav1.ApplyOptions{FieldManager: "controller"})
	if err != nil {
		return err
	}
	if size, _, _ := unstructured.NestedInt64(applied.Object, "status", "size"); size != 2 || applied.GetGeneration() != left.GetGeneration() {
		return fmt.Errorf("status %d, generation %d", size, applied.GetGeneration())
	}
	holds("status is applied apart")
	return s.applyTyped(ctx)
}

func (s *scenario) applyTyped(ctx context.Context) error {
	api := s.typed.CoreV1().ConfigMaps(namespace)
	options := metav1.ApplyOptions{FieldManager: "first"}
	wanted := applycorev1.ConfigMap("typed", namespace).WithData(map[string]string{"a": "1", "b": "1"})
	made, err := api.Apply(ctx, wanted, options)
	if err != nil {
		return err
	}
	if made.UID == "" || made.Data["b"] != "1" {
		return fmt.Errorf("applied %v", made)
	}
	// Another way to change it: a typed update, which is protobuf and another manager's.
	made.Data["c"] = "1"
	if _, err := api.Update(ctx, made, metav1.UpdateOptions{FieldManager: "second"}); err != nil {
		return err
	}
	now, err := api.Get(ctx, "typed", metav1.GetOptions{})
	if err != nil {
		return err
	}
	mine, err := applycorev1.ExtractConfigMap(now, "first")
	if err != nil {
		return err
	}
	if len(mine.Data) != 2 {
		return fmt.Errorf("extracted %v", mine.Data)
	}
	holds("a manager's own part is extracted from managedFields")
	delete(mine.Data, "b")
	after, err := api.Apply(ctx, mine, options)
	if err != nil {
		return err
	}
	if len(after.Data) != 2 || after.Data["c"] != "1" {
		return fmt.Errorf("after: %v", after.Data)
	}
	holds("applied again without a field, the other manager's stays")
	again, err := api.Apply(ctx, mine, options)
	if err != nil {
		return err
	}
	if again.ResourceVersion != after.ResourceVersion {
		return fmt.Errorf("version %s became %s", after.ResourceVersion, again.ResourceVersion)
	}
	holds("applied again unchanged, there is no new version")
	return s.patchTyped(ctx, after)
}

func (s *scenario) patchTyped(ctx context.Context, before *corev1.ConfigMap) error {
	api := s.typed.CoreV1().ConfigMaps(namespace)
	stale := before.DeepCopy()
	stale.Data["a"] = "2"
	if _, err := api.Update(ctx, stale, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err := api.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an update on an old version: %v", err)
	}
	holds("an update of an old version is a conflict")
	wrong := metav1.NewUIDPreconditions("no-such-uid")
	if err := api.Delete(ctx, "typed", metav1.DeleteOptions{Preconditions: wrong}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a delete of another uid: %v", err)
	}
	holds("a delete of another uid is a conflict")
	return nil
}
