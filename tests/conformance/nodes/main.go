// Command nodes stands before a server without nodes and Services and says that it has one of each: the suite does not start without a Ready node
// and the Service kubernetes. Everything else goes to the server as it is, with the token in TOKEN if the client sends none (over plain HTTP it
// does not).
//
//	TOKEN=... nodes UPSTREAM CA-FILE ADDRESS-FILE
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

const service = `{"kind":"Service","apiVersion":"v1","metadata":{"name":"kubernetes","namespace":"default"},"spec":{"clusterIP":"192.0.2.1"}}`

const node = `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"none"},` +
	`"spec":{},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: nodes UPSTREAM CA-FILE ADDRESS-FILE")
	}
	upstream, err := url.Parse(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatalf("%s holds no certificate", os.Args[2])
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			if r.In.Header.Get("Authorization") == "" {
				r.Out.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
			}
		},
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64},
		FlushInterval: -1, // watches
		ErrorLog:      log.New(os.Stderr, "nodes: ", 0),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address := fmt.Sprintf("http://%s", listener.Addr())
	if err := os.WriteFile(os.Args[3], []byte(address), 0o600); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := map[string]string{"/api/v1/nodes": node, "/api/v1/namespaces/default/services/kubernetes": service}
		if answer, ok := known[r.URL.Path]; ok && r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, answer)
			return
		}
		proxy.ServeHTTP(w, r)
	})))
}
