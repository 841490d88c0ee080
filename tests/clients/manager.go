package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/go-logr/logr"
)

const finalizer = "clients.example.org/cleanup"

// Gadget is the user's kind as an operator has it.
type Gadget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Size `json:"spec,omitempty"`
	Status Size `json:"status,omitempty"`
}

// Size is what is wanted of a Gadget, and what is.
type Size struct {
	Size int64 `json:"size,omitempty"`
}

// GadgetList is a list of them.
type GadgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gadget `json:"items"`
}

func (g *Gadget) DeepCopyObject() runtime.Object {
	out := *g
	g.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

func (l *GadgetList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = make([]Gadget, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Gadget)
	}
	return &out
}

// operator keeps a ConfigMap for each Gadget.
type operator struct {
	client.Client
	cleaned chan string
}

func (o *operator) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	gadget := &Gadget{}
	if err := o.Get(ctx, request.NamespacedName, gadget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !gadget.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(gadget, finalizer) {
			o.cleaned <- gadget.Name
			return ctrl.Result{}, o.Update(ctx, gadget)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(gadget, finalizer) {
		if err := o.Update(ctx, gadget); err != nil {
			return ctrl.Result{}, err
		}
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: gadget.Name, Namespace: gadget.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, o.Client, owned, func() error {
		owned.Data = map[string]string{"size": fmt.Sprint(gadget.Spec.Size)}
		return controllerutil.SetControllerReference(gadget, owned, o.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	before := gadget.DeepCopyObject().(*Gadget)
	gadget.Status.Size = gadget.Spec.Size
	return ctrl.Result{}, o.Status().Patch(ctx, gadget, client.MergeFrom(before))
}

// managerReconciles runs an operator with a cache and leader election, over a restart of the server.
func managerReconciles(ctx context.Context, s *scenario) error {
	if err := s.defineGadgets(ctx); err != nil {
		return err
	}
	log.SetLogger(logr.Discard())
	all := runtime.NewScheme()
	if err := scheme.AddToScheme(all); err != nil {
		return err
	}
	version := schema.GroupVersion{Group: gadgets.Group, Version: gadgets.Version}
	all.AddKnownTypes(version, &Gadget{}, &GadgetList{})
	metav1.AddToGroupVersion(all, version)
	lease, renew, retry := 15*time.Second, 10*time.Second, 200*time.Millisecond
	manager, err := ctrl.NewManager(s.config, ctrl.Options{
		Scheme: all, Metrics: metricsserver.Options{BindAddress: "0"}, LeaderElection: true, LeaderElectionNamespace: namespace,
		LeaderElectionID: "gadgets", LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry, LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}
	operator := &operator{Client: manager.GetClient(), cleaned: make(chan string, 10)}
	if err := ctrl.NewControllerManagedBy(manager).For(&Gadget{}).Owns(&corev1.ConfigMap{}).Complete(operator); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(running) }()
	api, err := client.New(s.config, client.Options{Scheme: all})
	if err != nil {
		return err
	}
	if err := operates(ctx, s, api, operator); err != nil {
		return err
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	held, err := s.typed.CoordinationV1().Leases(namespace).Get(ctx, "gadgets", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if held.Spec.HolderIdentity != nil && *held.Spec.HolderIdentity != "" {
		return fmt.Errorf("the lease is still held by %s", *held.Spec.HolderIdentity)
	}
	holds("a manager that is ended gives its lease back")
	return nil
}

func operates(ctx context.Context, s *scenario, api client.Client, operator *operator) error {
	one := &Gadget{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: namespace}, Spec: Size{Size: 1}}
	if err := api.Create(ctx, one); err != nil {
		return err
	}
	if err := settled(ctx, api, 1); err != nil {
		return err
	}
	holds("a new object is reconciled: finalizer, owned object, status")
	if err := api.Get(ctx, client.ObjectKeyFromObject(one), one); err != nil {
		return err
	}
	one.Spec.Size = 2
	if err := api.Update(ctx, one); err != nil {
		return err
	}
	if err := settled(ctx, api, 2); err != nil {
		return err
	}
	if one.Generation != 2 {
		return fmt.Errorf("generation %d", one.Generation)
	}
	holds("a change is reconciled, status does not count as one")
	if err := api.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: namespace}}); err != nil {
		return err
	}
	if err := settled(ctx, api, 2); err != nil {
		return err
	}
	holds("what it owns comes back when it is deleted")
	if err := s.restart(); err != nil {
		return err
	}
	err := eventually(ctx, "a change after the restart", func() error {
		return api.Patch(ctx, one, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":3}}`)))
	})
	if err != nil {
		return err
	}
	if err := settled(ctx, api, 3); err != nil {
		return err
	}
	holds("after a restart of the server it goes on")
	if err := api.Delete(ctx, one); err != nil {
		return err
	}
	for _, object := range []client.Object{&Gadget{}, &corev1.ConfigMap{}} {
		err := eventually(ctx, "the owner and what it owns are gone", func() error {
			err := api.Get(ctx, client.ObjectKeyFromObject(one), object)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("%T is there: %w", object, err)
		})
		if err != nil {
			return err
		}
	}
	if name := <-operator.cleaned; name != "one" {
		return fmt.Errorf("cleaned up %s", name)
	}
	holds("a deletion waits for the finalizer and takes along what is owned")
	return nil
}

// settled waits until the Gadget and its ConfigMap are as they should be.
func settled(ctx context.Context, api client.Client, size int64) error {
	key := client.ObjectKey{Namespace: namespace, Name: "one"}
	return eventually(ctx, fmt.Sprintf("size %d is reconciled", size), func() error {
		gadget, owned := &Gadget{}, &corev1.ConfigMap{}
		if err := api.Get(ctx, key, gadget); err != nil {
			return err
		}
		if err := api.Get(ctx, key, owned); err != nil {
			return err
		}
		if gadget.Status.Size != size || owned.Data["size"] != fmt.Sprint(size) || !slices.Contains(gadget.Finalizers, finalizer) {
			return fmt.Errorf("status %d, owned %v, finalizers %v", gadget.Status.Size, owned.Data, gadget.Finalizers)
		}
		if !metav1.IsControlledBy(owned, gadget) {
			return fmt.Errorf("owned by %v", owned.OwnerReferences)
		}
		return nil
	})
}
