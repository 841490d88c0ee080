package cluster

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func testCluster(t *testing.T) Cluster {
	t.Helper()
	c := Cluster{Name: "test", Dir: t.TempDir(), Number: 7}
	if err := c.writePKI(); err != nil {
		t.Fatal(err)
	}
	if err := c.writeConfig(); err != nil {
		t.Fatal(err)
	}
	return c
}

func readCertificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestEveryCertificateIsSignedByTheClustersAuthorityForItsUse(t *testing.T) {
	c := testCluster(t)
	roots := x509.NewCertPool()
	roots.AddCert(readCertificate(t, c.pki("ca.crt")))
	for _, id := range c.identities() {
		certificate := readCertificate(t, c.pki(id.file+".crt"))
		usage := x509.ExtKeyUsageClientAuth
		if id.hosts != nil {
			usage = x509.ExtKeyUsageServerAuth
		}
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("%s: %v", id.file, err)
		}
		for _, host := range id.hosts {
			if err := certificate.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", id.file, err)
			}
		}
	}
}

func TestTheNodeIsTheUserThatTheNodeAuthorizerExpects(t *testing.T) {
	c := testCluster(t)
	subject := readCertificate(t, c.pki("kubelet.crt")).Subject
	if subject.CommonName != "system:node:test-node" || len(subject.Organization) != 1 || subject.Organization[0] != "system:nodes" {
		t.Errorf("subject is %v", subject)
	}
}

func TestKeysAreReadableByTheirOwnerOnly(t *testing.T) {
	c := testCluster(t)
	files, err := filepath.Glob(c.pki("*.key"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, c.Kubeconfig()) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

func TestAKubeconfigNamesNoFile(t *testing.T) {
	c := testCluster(t)
	data, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), c.Dir) {
		t.Errorf("the kubeconfig depends on %s:\n%s", c.Dir, data)
	}
	var parsed struct {
		Clusters []struct{ Cluster struct{ Server string } }
	}
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		t.Fatal(err)
	}
	if server := parsed.Clusters[0].Cluster.Server; server != "https://10.200.7.2:6443" {
		t.Errorf("server is %s", server)
	}
}

func TestConfigurationIsWellFormedWhateverTheDirectoryIsCalled(t *testing.T) {
	c := Cluster{Name: "test", Dir: filepath.Join(t.TempDir(), `a "quoted": # dir`), Number: 7}
	var kubelet, proxy, cni map[string]any
	for _, check := range []struct {
		text string
		into *map[string]any
	}{{c.kubeletConfig(), &kubelet}, {c.proxyConfig(), &proxy}} {
		if err := yaml.UnmarshalStrict([]byte(check.text), check.into); err != nil {
			t.Errorf("%v in\n%s", err, check.text)
		}
	}
	if err := json.Unmarshal([]byte(c.cniConfig()), &cni); err != nil {
		t.Error(err)
	}
	if got := kubelet["podLogsDir"]; got != c.path("podlogs") {
		t.Errorf("podLogsDir is %v", got)
	}
	if got := kubelet["cgroupRoot"]; got != "/localkube/test" {
		t.Errorf("cgroupRoot is %v", got)
	}
}

func TestEtcdWaitsForTheDiskOnlyWhenAsked(t *testing.T) {
	c := Cluster{Name: "test", Dir: "/d", Number: 7}
	for _, fsync := range []bool{true, false} {
		unsafe := strings.Contains(strings.Join(c.argv("/bin", "etcd", fsync), " "), "--unsafe-no-fsync")
		if unsafe == fsync {
			t.Errorf("with fsync %v unsafe is %v", fsync, unsafe)
		}
	}
}

func TestNamesAndDirectoriesThatCannotWorkAreRefused(t *testing.T) {
	for name, valid := range map[string]bool{
		"local": true, "a": true, "a-1": true, "": false, "-a": false, "a-": false, "A": false, "a/b": false, "..": false,
		"abcdefghijklmnopqrst": true, "abcdefghijklmnopqrstu": false,
	} {
		if err := CheckName(name); (err == nil) != valid {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := checkDir("/" + strings.Repeat("d", maxDir)); err == nil {
		t.Error("a directory too long for sockets is accepted")
	}
	if err := checkDir("/" + strings.Repeat("d", maxDir-1)); err != nil {
		t.Error(err)
	}
}

func TestADirectoryWithSomebodyElsesFilesIsLeftAlone(t *testing.T) {
	c := Cluster{Name: "test", Dir: t.TempDir()}
	if err := checkContents(c.Dir); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.MkdirAll(c.path("volumes", "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkContents(c.Dir); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("somebody's volumes: %v", err)
	}
	if err := c.mark(); err != nil {
		t.Fatal(err)
	}
	if err := checkContents(c.Dir); err != nil {
		t.Errorf("what a broken off start of ours left: %v", err)
	}
	if err := c.removeState(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(c.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
