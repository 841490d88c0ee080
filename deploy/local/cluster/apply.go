package cluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"sigs.k8s.io/yaml"
)

// applyAll applies manifests by server-side apply, in their order.
func (c Cluster) applyAll(ctx context.Context, manifests []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	for _, manifest := range manifests {
		for document := range strings.SplitSeq(manifest, "\n---\n") {
			if err := c.apply(ctx, client, []byte(document)); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply applies one object; the API server reads YAML as well as JSON.
func (c Cluster) apply(ctx context.Context, client *http.Client, document []byte) error {
	path, err := objectPath(document)
	if err != nil || path == "" {
		return err
	}
	url := c.Server() + path + "?fieldManager=localkube&force=true"
	return call(ctx, client, http.MethodPatch, url, "application/apply-patch+yaml", document, nil)
}

// objectPath is where an object is in the API, or nothing for a document without one. The plural is the regular one: a
// manifest of ours names no kind that has another.
func objectPath(document []byte) (string, error) {
	var object struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal(document, &object); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if object.Kind == "" {
		return "", nil
	}
	plural := strings.ToLower(object.Kind) + "s"
	if strings.HasSuffix(object.Kind, "s") {
		plural = strings.ToLower(object.Kind) + "es"
	}
	path := "/apis/" + object.APIVersion
	if !strings.Contains(object.APIVersion, "/") {
		path = "/api/" + object.APIVersion
	}
	if object.Metadata.Namespace != "" {
		path += "/namespaces/" + object.Metadata.Namespace
	}
	return path + "/" + plural + "/" + object.Metadata.Name, nil
}
