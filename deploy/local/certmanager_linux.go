package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmechallenges"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmeorders"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/acme"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/acme"
	dns "github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/util"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"github.com/spf13/pflag"
)

// runCertManager runs cert-manager's controllers against $KUBECONFIG, or from inside a pod. cert-manager's own main is an
// internal package; this one registers the same controllers and issuers through the public ones.
func runCertManager() {
	flags := pflag.NewFlagSet("cert-manager", pflag.ExitOnError)
	nameservers := flags.StringSlice("dns01-recursive-nameservers", dns.RecursiveNameservers, "who is asked whether a DNS-01 record is there, as ADDRESS:PORT")
	health := flags.String("health-address", "", "serve /readyz at this address")
	exitOn(flags.Parse(os.Args[1:]))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	factory, err := certmanager.NewContextFactory(ctx, certmanager.ContextOptions{
		Kubeconfig:         os.Getenv("KUBECONFIG"),
		KubernetesAPIQPS:   100,
		KubernetesAPIBurst: 200,
		IssuerOptions:      certmanager.IssuerOptions{ClusterResourceNamespace: "cert-manager"},
		SchedulerOptions:   certmanager.SchedulerOptions{MaxConcurrentChallenges: 60},
		ACMEOptions: certmanager.ACMEOptions{
			DNS01Nameservers:      *nameservers,
			DNS01CheckRetryPeriod: time.Second,
		},
		CertificateOptions: certmanager.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: 5 * time.Second,
			CertificateRequestMaximumBackoffDuration: time.Minute,
		},
	})
	exitOn(err)
	base, err := factory.Build()
	exitOn(err)
	for _, construct := range certmanager.Known() {
		controller, err := construct(factory)
		exitOn(err)
		go func() { exitOn(controller.Run(5, ctx)) }()
	}
	base.SharedInformerFactory.Start(ctx.Done())
	base.KubeSharedInformerFactory.Start(ctx.Done())
	base.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	if *health != "" {
		go func() { exitOn(http.ListenAndServe(*health, readyWith(base))) }()
	}
	<-ctx.Done()
}

// readyWith answers /readyz once all that the controllers watch has been read.
func readyWith(base *certmanager.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		for kind, synced := range base.SharedInformerFactory.WaitForCacheSync(ctx.Done()) {
			if !synced {
				http.Error(w, kind.String()+" are not read yet", http.StatusServiceUnavailable)
				return
			}
		}
	})
	return mux
}
