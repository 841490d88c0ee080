// Package image makes OCI image archives from local files: no registry, no Docker, no base image. The same files give the
// same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/distribution/reference"
)

// Spec says what an image holds and how it starts.
type Spec struct {
	// Name is what pods call it; see Normalize.
	Name string
	// Entrypoint is the program and its first arguments.
	Entrypoint []string
	// Env are KEY=VALUE pairs. PATH is set unless it is among them.
	Env []string
	// Files are laid into one layer.
	Files []File
}

// Normalize writes a name the way the kubelet looks it up: "web" is docker.io/library/web:latest.
func Normalize(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
	defaultPath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type config struct {
	Architecture string        `json:"architecture"`
	OS           string        `json:"os"`
	Config       runtimeConfig `json:"config"`
	RootFS       rootFS        `json:"rootfs"`
}

type runtimeConfig struct {
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Env        []string `json:"Env"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// Write writes the image as an OCI image layout in a tar archive, which `ctr images import` reads.
func (s Spec) Write(w io.Writer) error {
	name, err := Normalize(s.Name)
	if err != nil {
		return err
	}
	layer, err := layer(s.Files)
	if err != nil {
		return err
	}
	cfg, err := json.Marshal(config{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       runtimeConfig{Entrypoint: s.Entrypoint, Env: s.env()},
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	man, err := json.Marshal(manifest{
		SchemaVersion: 2,
		MediaType:     mediaManifest,
		Config:        describe(mediaConfig, cfg),
		Layers:        []descriptor{describe(mediaLayer, layer)},
	})
	if err != nil {
		return err
	}
	top := describe(mediaManifest, man)
	top.Annotations = map[string]string{"io.containerd.image.name": name}
	idx, err := json.Marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{top}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, entry := range []struct {
		name string
		data []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", idx},
		{blob(man), man},
		{blob(cfg), cfg},
		{blob(layer), layer},
	} {
		if err := addFile(out, entry.name, 0o644, entry.data); err != nil {
			return err
		}
	}
	return out.Close()
}

func (s Spec) env() []string {
	for _, pair := range s.Env {
		if len(pair) >= 5 && pair[:5] == "PATH=" {
			return s.Env
		}
	}
	return append([]string{defaultPath}, s.Env...)
}

func describe(mediaType string, data []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
}

func sum(data []byte) string {
	hash := sha256.Sum256(data)
	return hex.EncodeToString(hash[:])
}

func digest(data []byte) string { return "sha256:" + sum(data) }

func blob(data []byte) string { return "blobs/sha256/" + sum(data) }

// layer is the tar archive of the files.
func layer(files []File) ([]byte, error) {
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	if err := addTree(out, files); err != nil {
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
