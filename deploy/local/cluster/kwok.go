package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"sync"
)

// kwok's nodes are told by an annotation, and kept free of pods that did not ask for them by a taint of the same name.
const (
	kwokAnnotation = "kwok.x-k8s.io/node"
	kwokFake       = "fake"
)

// createKwokNodes makes the Node objects that kwok is to keep alive.
func (c Cluster) createKwokNodes(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for number := range numbers {
				body, err := json.Marshal(c.kwokNode(number))
				if err == nil {
					err = call(ctx, client, http.MethodPost, c.Server()+"/api/v1/nodes", "application/json", body, nil)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	for number := range c.Nodes.Kwok {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	return context.Cause(ctx)
}

// kwokNode is a node as kwokctl makes them. The taint is there only where pods have a real node to go to.
func (c Cluster) kwokNode(number int) map[string]any {
	name := fmt.Sprintf("kwok-node-%d", number)
	resources := map[string]string{"cpu": "32", "memory": "256Gi", "pods": "110"}
	spec := map[string]any{}
	if c.Nodes.Real {
		spec["taints"] = []map[string]string{{"key": kwokAnnotation, "value": kwokFake, "effect": "NoSchedule"}}
	}
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": map[string]any{
			"name":        name,
			"annotations": map[string]string{kwokAnnotation: kwokFake, "node.alpha.kubernetes.io/ttl": "0"},
			"labels": map[string]string{
				"beta.kubernetes.io/arch":       runtime.GOARCH,
				"beta.kubernetes.io/os":         "linux",
				"kubernetes.io/arch":            runtime.GOARCH,
				"kubernetes.io/hostname":        name,
				"kubernetes.io/os":              "linux",
				"kubernetes.io/role":            "agent",
				"node-role.kubernetes.io/agent": "",
				"type":                          "kwok",
			},
		},
		"spec": spec,
		"status": map[string]any{
			"allocatable": resources,
			"capacity":    resources,
			"addresses": []map[string]string{
				{"type": "InternalIP", "address": fmt.Sprintf(kwokNodes, number/256, number%256)},
				{"type": "Hostname", "address": name},
			},
			"nodeInfo": map[string]string{"architecture": runtime.GOARCH, "operatingSystem": "linux"},
		},
	}
}
