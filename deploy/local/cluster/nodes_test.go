package cluster

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestNodesAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{"real", "kwok=1", "real,kwok=10000"} {
		if nodes, err := ParseNodes(text); err != nil || nodes.String() != text {
			t.Errorf("%q is read as %q, %v", text, nodes, err)
		}
	}
	for _, text := range []string{"", "real,", "real,real", "real=1", "kwok", "kwok=", "kwok=0", "kwok=-1", "kwok=10001", "kwok=1,kwok=2", "fake"} {
		if nodes, err := ParseNodes(text); err == nil {
			t.Errorf("%q is read as %q", text, nodes)
		}
	}
}

func TestAClusterThatCrashedComesBackAsItWas(t *testing.T) {
	old := Record{Cluster: Cluster{Nodes: Nodes{Real: true, Kwok: 2}}, With: []string{"cert-manager"}}
	if again := (Options{}).orAs(old); *again.Nodes != old.Nodes || !slices.Equal(again.With, old.With) {
		t.Errorf("%+v", again)
	}
	asked := Nodes{Kwok: 1}
	if again := (Options{Nodes: &asked}).orAs(old); *again.Nodes != asked || len(again.With) > 0 {
		t.Errorf("%+v", again)
	}
	if again := (Options{}).orAs(Record{}); again.Nodes != nil {
		t.Errorf("%+v", again)
	}
}

func TestAClusterHasTheComponentsThatItsNodesNeed(t *testing.T) {
	for text, want := range map[string]string{
		"real":        "containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy volume-provisioner",
		"kwok=3":      "etcd kube-apiserver kube-controller-manager kube-scheduler kwok volume-provisioner",
		"real,kwok=3": strings.Join(Components, " "),
	} {
		nodes, err := ParseNodes(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Cluster{Nodes: nodes}.components(), " "); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestPodsKeepOffKwoksNodesWhereThereIsARealOne(t *testing.T) {
	for _, real := range []bool{true, false} {
		node := Cluster{Nodes: Nodes{Real: real, Kwok: 300}}.kwokNode(259)
		if _, tainted := node["spec"].(map[string]any)["taints"]; tainted != real {
			t.Errorf("with a real node %v, tainted is %v", real, tainted)
		}
		address := node["status"].(map[string]any)["addresses"].([]map[string]string)[0]["address"]
		if address != "10.90.1.3" {
			t.Errorf("node 259 is at %s", address)
		}
	}
}

func TestAProcessIsOursByItsNameAndDirectory(t *testing.T) {
	c := Cluster{Name: "test", Dir: "/state/test"}
	for line, want := range map[string]bool{
		"etcd --data-dir /state/test/etcd":                true,
		"/bin/kwok --config x --kubeconfig /state/test/k": true,
		"etcd --data-dir /state/test2/etcd":               false,
		"tail -f /state/test/log/etcd.log":                false,
		"":                                                false,
	} {
		if c.owns(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
	if (Cluster{}).owns("etcd --data-dir /etcd") {
		t.Error("a cluster without a directory owns processes")
	}
}

func TestClustersOnLoopbackShareNoPort(t *testing.T) {
	c := Cluster{Name: "test", Dir: "/d", Port: 4321, Nodes: Nodes{Kwok: 1}}
	for _, component := range c.components() {
		args := c.argv("/bin", component, false)
		for _, flag := range []string{"0.0.0.0", "6443", "2379", "http://"} {
			if strings.Contains(strings.Join(args, " "), flag) {
				t.Errorf("%s has %s: %v", component, flag, args)
			}
		}
		if strings.HasPrefix(component, "kube-") && component != "kube-apiserver" && !slices.Contains(args, "--secure-port") {
			t.Errorf("%s serves on its default port: %v", component, args)
		}
	}
	if c.Server() != "https://127.0.0.1:4321" {
		t.Error(c.Server())
	}
}

func TestManifestsNameObjectsOfTheAPI(t *testing.T) {
	for document, want := range map[string]string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}":                          "/api/v1/namespaces/a",
		"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: a}":        "/apis/storage.k8s.io/v1/storageclasses/a",
		"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: b}": "/apis/apps/v1/namespaces/b/deployments/a",
		"# nothing": "",
	} {
		if got, err := objectPath([]byte(document)); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// The manifests are plain text, so that they can be read and applied by hand; what they share with the code is compared.
func TestManifestsAgreeWithTheCode(t *testing.T) {
	for manifest, needed := range map[string][]string{
		dnsManifest:         {"clusterIP: " + dnsServiceIP + "\n", "image: " + SystemImage + "\n"},
		certManagerManifest: {"image: " + SystemImage + "\n"},
		storageManifest:     {"name: " + provisionerUser + "\n"},
	} {
		for _, text := range needed {
			if !strings.Contains(manifest, text) {
				t.Errorf("there is no %q in\n%s", text, manifest)
			}
		}
		for document := range strings.SplitSeq(manifest, "\n---\n") {
			var object map[string]any
			if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil || object["kind"] == nil {
				t.Errorf("%v in\n%s", err, document)
			}
		}
	}
}
