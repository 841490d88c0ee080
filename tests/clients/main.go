// What client-go and controller-runtime do with a server that is not Kubernetes.
//
//	clients KUBECONFIG SCENARIO
//
// A scenario prints a line for each thing that it found to hold, and ends at the first that does not, with exit code 1. Where it needs the server
// restarted it prints "restart" and waits for a line; tests/it/go.rs is on the other side.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	namespace = "default"
	// For what has to happen by itself.
	soon = 30 * time.Second
)

var (
	gadgets     = schema.GroupVersionResource{Group: "clients.example.org", Version: "v1", Resource: "gadgets"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

	//go:embed gadget.yaml
	gadgetDefinition []byte

	scenarios = map[string]func(context.Context, *scenario) error{
		"informers": informersFollow,
		"expired":   expiredIsListedAgain,
		"apply":     applyKnowsItsManagers,
		"leases":    leasesElect,
		"events":    eventsAreRecorded,
		"storms":    stormsLoseNothing,
		"discovery": discoveryMaps,
		"pages":     pagesAreOfOneMoment,
		"manager":   managerReconciles,
	}
)

// scenario is what each of them starts from.
type scenario struct {
	config *rest.Config
	typed  kubernetes.Interface
	any    dynamic.Interface
	input  *bufio.Scanner
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "clients: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 || scenarios[os.Args[2]] == nil {
		return fmt.Errorf("usage: clients KUBECONFIG SCENARIO")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 1000, 1000
	s := &scenario{config: config, input: bufio.NewScanner(os.Stdin)}
	if s.typed, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if s.any, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return scenarios[os.Args[2]](ctx, s)
}

// holds tells what was found.
func holds(format string, args ...any) {
	fmt.Printf("holds: "+format+"\n", args...)
}

// restart has the server killed and started again.
func (s *scenario) restart() error {
	fmt.Println("restart")
	if !s.input.Scan() {
		return fmt.Errorf("nobody restarts the server")
	}
	return nil
}

// defineGadgets makes the kind Gadget, as a user does, and waits until it is served.
func (s *scenario) defineGadgets(ctx context.Context) error {
	definition := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(gadgetDefinition, &definition.Object); err != nil {
		return err
	}
	if _, err := s.any.Resource(definitions).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("define gadgets: %w", err)
	}
	return eventually(ctx, "gadgets are served", func() error {
		_, err := s.any.Resource(gadgets).List(ctx, metav1.ListOptions{})
		return err
	})
}

func gadget(name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "clients.example.org/v1",
		"kind":       "Gadget",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"size": size},
	}}
}

// eventually looks until there is no error, at most for as long as things may take.
func eventually(ctx context.Context, what string, look func() error) error {
	deadline := time.Now().Add(soon)
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s; last: %w", what, soon, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// status gives the API's own description of an error.
func status(err error) *metav1.Status {
	var known apierrors.APIStatus
	if err == nil {
		return &metav1.Status{}
	}
	if known, _ = err.(apierrors.APIStatus); known == nil {
		return &metav1.Status{Message: err.Error()}
	}
	found := known.Status()
	return &found
}
