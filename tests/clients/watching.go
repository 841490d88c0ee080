package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// recorder keeps what an informer told, in order.
type recorder struct {
	read  func(any) string
	mutex sync.Mutex
	told  []string
}

func (r *recorder) tell(kind string, object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object, kind = unknown.Obj, kind+", missed"
	}
	accessor, err := meta.Accessor(object)
	line := fmt.Sprintf("%s %T: %v", kind, object, err)
	if err == nil {
		line = fmt.Sprintf("%s %s %s", kind, accessor.GetName(), r.read(object))
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.told = append(r.told, line)
}

func (r *recorder) OnAdd(object any, initial bool) {
	if initial {
		r.tell("first", object)
	} else {
		r.tell("add", object)
	}
}
func (r *recorder) OnUpdate(_, object any) { r.tell("update", object) }
func (r *recorder) OnDelete(object any)    { r.tell("delete", object) }

func (r *recorder) lines() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.told)
}

// wire counts what is answered over a client's connections, and can be cut.
type wire struct {
	streamed, listed, resumed, protobuf atomic.Int64

	mutex sync.Mutex
	cut   bool
	open  []net.Conn
}

// over gives a configuration whose clients go over this wire.
func (w *wire) over(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = w.dial
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil {
				w.count(request)
			}
			return response, err
		})
	})
	return config
}

func (w *wire) count(request *http.Request) {
	query := request.URL.Query()
	switch {
	case request.Header.Get("Content-Type") == "application/vnd.kubernetes.protobuf":
		w.protobuf.Add(1)
	case query.Get("sendInitialEvents") == "true":
		w.streamed.Add(1)
	case query.Has("watch") && query.Get("watch") != "false":
		w.resumed.Add(1)
	// client-go can hold each streamed list against an exact one; that is not how it lists.
	case request.Method == http.MethodGet && query.Has("resourceVersion") && query.Get("resourceVersionMatch") != "Exact":
		w.listed.Add(1)
	}
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		w.open = append(w.open, connection)
	}
	return connection, err
}

// set cuts every connection and refuses new ones, or lets them through again.
func (w *wire) set(cut bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.cut = cut
	if cut {
		for _, connection := range w.open {
			connection.Close()
		}
		w.open = nil
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }
