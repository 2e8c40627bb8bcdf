package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/internal/serving"
	"github.com/caracalai/caracald/telemetry"
)

// Admin configures the role admin.
type Admin struct {
	// Dir is a directory for its store.
	Dir string `json:"dir"`
	// Addr is where it listens; "" takes any port of 127.0.0.1.
	Addr string `json:"addr"`
	// Batches says what becomes of audit batches.
	Batches Batches `json:"batches"`
	// TLS, where it is set, is served on a port of its own beside Addr: what the
	// benchmark asks for itself stays in the clear.
	TLS *Certificate `json:"tls,omitempty"`
	// TLSAddr is where that listens; "" takes any port of 127.0.0.1.
	TLSAddr string `json:"tls_addr,omitempty"`
}

// Batches says what becomes of the audit batches that daemons send.
type Batches string

const (
	// BatchesStored is what the control plane does.
	BatchesStored Batches = "stored"
	// BatchesDiscarded accepts them unread: the work of a control plane on
	// another machine is not to be done by the processors that are measured.
	BatchesDiscarded Batches = "discarded"
	// BatchesRefused leaves all records with the daemon.
	BatchesRefused Batches = "refused"
)

// administrator is the token of the role admin.
const administrator = "bench-administrator-token"

// adminServer is the real control plane over an embedded store.
func adminServer(ctx context.Context, config json.RawMessage, ready func(Ready) error) (err error) {
	cfg, err := read[Admin](config)
	if err != nil {
		return err
	}
	observed, err := telemetry.Start(ctx, "caracal-admin", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, observed.Stop(context.WithoutCancel(ctx))) }()
	st, err := sqlite.Open(ctx, cfg.Dir, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		return err
	}
	server, err := admin.New(ctx, admin.Config{Store: st, Keys: keys, BootstrapToken: administrator, Version: "bench",
		Metrics: observed.Metrics, MeterProvider: observed.Meters, TracerProvider: observed.Tracers})
	if err != nil {
		return err
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return err
	}
	at := Ready{Addr: l.Addr().String(), Token: administrator, Trust: keys.Roots[0]}
	listeners := []net.Listener{l}
	if cfg.TLS != nil {
		secure, err := cfg.TLS.listen(cfg.TLSAddr)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		at.TLSAddr, listeners = secure.Addr().String(), append(listeners, secure)
	}
	s := serving.New(batches(cfg.Batches, server.Handler()))
	s.ErrorLog = log.New(io.Discard, "", 0) // handshakes that were broken off
	var g errgroup.Group
	running, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() error { return server.Run(running) })
	for _, l := range listeners {
		g.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	if err = ready(at); err == nil {
		<-ctx.Done()
	}
	stop()
	return errors.Join(err, s.Close(), g.Wait())
}

// batches answers audit batches in the place of the control plane, unless they
// are to be stored.
func batches(what Batches, rest http.Handler) http.Handler {
	if what == BatchesStored {
		return rest
	}
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.HandleFunc("POST /v1/audit/batches", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h, err := audit.DecodeBatchHeader(data)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case what == BatchesRefused:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]uint64{"next_offset": h.First + uint64(h.Count)})
		}
	})
	return mux
}
