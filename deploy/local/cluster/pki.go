package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of every certificate: a cluster lives from up to down, so none is ever renewed.
const lifetime = 365 * 24 * time.Hour

// identity is one certificate of the cluster: who it is for, and by which names it is reached if it serves.
type identity struct {
	file   string
	user   string
	groups []string
	hosts  []string
}

// identities are those of kubeadm: each component may do what its RBAC role says, and no more.
func (c Cluster) identities() []identity {
	return []identity{
		{file: "admin", user: "admin", groups: []string{"system:masters"}},
		{file: "apiserver", user: "kube-apiserver", hosts: []string{
			"127.0.0.1", apiServiceIP, c.NodeAddress(), c.Node(), "localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}},
		{file: "apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "kube-controller-manager", user: "system:kube-controller-manager"},
		{file: "kube-scheduler", user: "system:kube-scheduler"},
		{file: "kube-proxy", user: "system:kube-proxy"},
		{file: "volume-provisioner", user: provisionerUser},
		{file: "kubelet", user: "system:node:" + c.Node(), groups: []string{"system:nodes"}},
		{file: "kubelet-server", user: "system:node:" + c.Node(), hosts: []string{c.NodeAddress(), c.Node()}},
	}
}

func (c Cluster) pki(file string) string { return c.path("pki", file) }

// frontProxy is who the API server is when it passes requests on to aggregated APIs. Its certificate is of an authority of
// its own, as whoever holds one may speak for anybody.
var frontProxy = identity{file: "front-proxy-client", user: "front-proxy-client"}

// writePKI makes the certificate authorities, every identity's certificate, and the key that signs service account tokens.
func (c Cluster) writePKI() error {
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return err
	}
	if err := c.writeAuthority("ca", c.identities()); err != nil {
		return err
	}
	if err := c.writeAuthority("front-proxy-ca", []identity{frontProxy}); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(c.pki("sa.key"), key)
}

// writeAuthority makes a certificate authority and the certificates it signs.
func (c Cluster) writeAuthority(file string, identities []identity) error {
	ca, err := newAuthority("localkube-" + c.Name + "-" + file)
	if err != nil {
		return err
	}
	if err := ca.write(c.pki(file)); err != nil {
		return err
	}
	for _, id := range identities {
		issued, err := ca.issue(id)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", id.file, err)
		}
		if err := issued.write(c.pki(id.file)); err != nil {
			return err
		}
	}
	return nil
}

// pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(name string) (pair, error) {
	template := template(name, nil)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	return sign(template, key, pair{template, key})
}

func (ca pair) issue(id identity) (pair, error) {
	template := template(id.user, id.groups)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.hosts != nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range id.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	return sign(template, key, ca)
}

func template(user string, groups []string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: user, Organization: groups},
		// A laptop's clock may be set back a little.
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(lifetime),
	}
}

func sign(template *x509.Certificate, key *ecdsa.PrivateKey, by pair) (pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		return pair{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return pair{certificate, key}, err
}

func (p pair) write(base string) error {
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw})
	if err := os.WriteFile(base+".crt", data, 0o644); err != nil {
		return err
	}
	return writeKey(base+".key", p.key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
