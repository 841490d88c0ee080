package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// get reads an object.
func (c Cluster) get(ctx context.Context, path string, into any) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return call(ctx, client, http.MethodGet, c.Server()+path, "", nil, into)
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

// call makes one request, with a body if it is of some type, and reads the answer into what it is to go.
func call(ctx context.Context, client *http.Client, method, url, contentType string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		var status struct{ Message string }
		_ = json.Unmarshal(answer, &status)
		return fmt.Errorf("%s %s: %s %s", method, url, response.Status, status.Message)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
