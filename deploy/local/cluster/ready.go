package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// ready asks whether the API server is.
func (c Cluster) ready(ctx context.Context) error {
	return c.get(ctx, "/readyz", nil)
}

// node is what is read of a Node.
type node struct {
	Metadata struct{ Name string }
	Spec     struct {
		Taints []struct{ Key string }
	}
	Status struct {
		Conditions []condition
	}
}

type condition struct{ Type, Status, Message string }

// takesPods says why no pod is put on the node; one that tolerates what kwok's nodes have may be.
func (n node) takesPods() error {
	for _, taint := range n.Spec.Taints {
		if taint.Key != kwokAnnotation {
			return fmt.Errorf("the node %s has the taint %s", n.Metadata.Name, taint.Key)
		}
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		} else if condition.Type == "Ready" {
			return errors.New(condition.Message)
		}
	}
	return fmt.Errorf("the node %s has no Ready condition yet", n.Metadata.Name)
}

// nodeReady asks whether the real node takes pods.
func (c Cluster) nodeReady(ctx context.Context) error {
	var node node
	if err := c.get(ctx, "/api/v1/nodes/"+c.Node(), &node); err != nil {
		return err
	}
	return node.takesPods()
}

// kwokReady asks whether all nodes of kwok take pods.
func (c Cluster) kwokReady(ctx context.Context) error {
	var list struct{ Items []node }
	if err := c.get(ctx, "/api/v1/nodes?labelSelector=type%3Dkwok&resourceVersion=0", &list); err != nil {
		return err
	}
	if len(list.Items) < c.Nodes.Kwok {
		return fmt.Errorf("there are %d nodes of %d", len(list.Items), c.Nodes.Kwok)
	}
	for _, node := range list.Items {
		if err := node.takesPods(); err != nil {
			return err
		}
	}
	return nil
}

// nodesReady asks whether all nodes take pods.
func (c Cluster) nodesReady(ctx context.Context) error {
	var err error
	if c.Nodes.Real {
		err = c.nodeReady(ctx)
	}
	if err == nil && c.Nodes.Kwok > 0 {
		err = c.kwokReady(ctx)
	}
	return err
}

// serviceAccountReady asks for what every pod of the default namespace mounts: without, creating one is refused.
func (c Cluster) serviceAccountReady(ctx context.Context) error {
	err := c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	return errors.Join(err, c.get(ctx, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", nil))
}

// proxyReady asks whether kube-proxy has written its rules.
func (c Cluster) proxyReady(ctx context.Context) error {
	return call(ctx, &http.Client{Timeout: 5 * time.Second}, http.MethodGet, "http://"+c.NodeAddress()+":10256/healthz", "", nil, nil)
}

// certManagerReady asks whether its pod is.
func (c Cluster) certManagerReady(ctx context.Context) error {
	var deployment struct {
		Status struct{ Conditions []condition }
	}
	if err := c.get(ctx, "/apis/apps/v1/namespaces/cert-manager/deployments/cert-manager", &deployment); err != nil {
		return err
	}
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == "Available" && condition.Status == "True" {
			return nil
		}
	}
	return errors.New("the Deployment cert-manager is not available")
}

// dnsReady asks for a name of the cluster, as a pod would, at the address that pods are told.
func (s *starter) dnsReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return s.launch.dial("udp", dnsServiceIP+":53")
	}}
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
	if err == nil && !slices.Contains(addresses, apiServiceIP) {
		err = fmt.Errorf("kubernetes.default is said to be at %v", addresses)
	}
	return err
}
