package cluster

import _ "embed"

// What a cluster has besides its processes. Names and addresses in the manifests are those of the constants here and in
// cluster.go; a test compares them.
var (
	//go:embed addons/dns.yaml
	dnsManifest string
	//go:embed addons/storage.yaml
	storageManifest string
	//go:embed addons/cert-manager.yaml
	certManagerManifest string
)

// addon is what a cluster has on request.
type addon struct {
	// definitions is a file of CustomResourceDefinitions that is built with this binary.
	definitions string
	manifest    string
}

var addons = map[string]addon{"cert-manager": {definitions: "cert-manager-crds.yaml", manifest: certManagerManifest}}

// provisionerUser is who the volume provisioner is to the API server.
const provisionerUser = "localkube:volume-provisioner"

// Files that are built with this binary.
const (
	// systemArchive is the image that the add-ons are calls of.
	systemArchive = "system.tar"
	// stagesFile says what kwok does with nodes and pods.
	stagesFile = "kwok-stages.yaml"
)
