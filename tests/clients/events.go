package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
)

// eventsAreRecorded tells the same thing several times, through both recorders that controllers have.
func eventsAreRecorded(ctx context.Context, s *scenario) error {
	if err := s.configMap(ctx, "subject", "1"); err != nil {
		return err
	}
	subject, err := s.typed.CoreV1().ConfigMaps(namespace).Get(ctx, "subject", metav1.GetOptions{})
	if err != nil {
		return err
	}
	subject.APIVersion, subject.Kind = "v1", "ConfigMap"
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: s.typed.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clients"})
	for range 3 {
		recorder.Event(subject, corev1.EventTypeWarning, "Tried", "and failed")
	}
	if err := s.recorded(ctx, "Tried", func(event *corev1.Event) bool { return event.Count == 3 && event.Source.Component == "clients" }); err != nil {
		return err
	}
	holds("what is said again is counted, in one Event")
	broadcaster.Shutdown()
	series := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.typed.EventsV1()})
	if err := series.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	newer := series.NewRecorder(scheme.Scheme, "clients.example.org/controller")
	newer.Eventf(subject, nil, corev1.EventTypeNormal, "Done", "Doing", "it is done: %d", 1)
	if err := s.recorded(ctx, "Done", func(event *corev1.Event) bool { return event.Series == nil && event.Message == "it is done: 1" }); err != nil {
		return err
	}
	// The second time makes a series of it.
	newer.Eventf(subject, nil, corev1.EventTypeNormal, "Done", "Doing", "it is done: %d", 1)
	if err := s.recorded(ctx, "Done", func(event *corev1.Event) bool { return event.Series != nil && event.Series.Count == 2 }); err != nil {
		return err
	}
	holds("events.k8s.io records the same Events, in series")
	series.Shutdown()
	return nil
}

// recorded waits until the only Event of that reason is right.
func (s *scenario) recorded(ctx context.Context, reason string, right func(*corev1.Event) bool) error {
	return eventually(ctx, "the Event "+reason, func() error {
		list, err := s.typed.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.name=subject"})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 || !right(&list.Items[0]) {
			return fmt.Errorf("%+v", list.Items)
		}
		return nil
	})
}
