package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

// ready asks whether the API server is.
func (c Cluster) ready(ctx context.Context) error {
	return c.get(ctx, "/readyz", nil)
}

// nodeReady asks whether the node takes pods.
func (c Cluster) nodeReady(ctx context.Context) error {
	var node struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := c.get(ctx, "/api/v1/nodes/"+c.Node(), &node); err != nil {
		return err
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taint %s", node.Spec.Taints[0].Key)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		} else if condition.Type == "Ready" {
			return errors.New(condition.Message)
		}
	}
	return errors.New("the node has no Ready condition yet")
}

// serviceAccountReady asks for what every pod of the default namespace mounts: without, creating one is refused.
func (c Cluster) serviceAccountReady(ctx context.Context) error {
	err := c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	return errors.Join(err, c.get(ctx, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", nil))
}

// proxyReady asks whether kube-proxy has written its rules.
func (c Cluster) proxyReady(ctx context.Context) error {
	return fetch(ctx, &http.Client{Timeout: 5 * time.Second}, "http://"+c.NodeAddress()+":10256/healthz", nil)
}

func (c Cluster) get(ctx context.Context, path string, into any) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return fetch(ctx, client, c.Server()+path, into)
}

// client speaks as the cluster's administrator. client-go would do, but nothing else in this package needs it.
func (c Cluster) client() (*http.Client, error) {
	ca, err := os.ReadFile(c.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	admin, err := tls.LoadX509KeyPair(c.pki("admin.crt"), c.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{admin}}},
	}, nil
}

func fetch(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// tail is the end of a log, for an error message.
func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const lines = 15
	for at, newline := range slices.Backward(data) {
		if newline == '\n' && at < len(data)-1 {
			if lines == countLines(data[at+1:]) {
				return string(data[at+1:])
			}
		}
	}
	return string(data)
}

func countLines(data []byte) (count int) {
	for _, b := range data {
		if b == '\n' {
			count++
		}
	}
	return count
}
