package main

import (
	"context"
	"os"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	"k8s.io/component-base/cli"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// What a node is made of, and what runs in its pods, is on Linux alone.
func init() {
	components["kubelet"] = func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) }
	components["kube-proxy"] = func() { os.Exit(cli.Run(proxy.NewProxyCommand())) }
	components["coredns"] = runCoreDNS
	components["cert-manager"] = runCertManager
}

// runCoreDNS is CoreDNS with the plugins a cluster's DNS needs; their order is the order in which they see a query.
func runCoreDNS() {
	dnsserver.Directives = []string{"errors", "health", "ready", "hosts", "kubernetes", "cache", "forward"}
	coremain.Run()
}
