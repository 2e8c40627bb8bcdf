// Package admin is the control plane: what people do to zones, policies,
// policy sets and tokens, the HTTP API through which they do it, and the calls
// by which daemons learn of pointers, fetch bundles and hand in receipts and
// audit records.
//
// Every write is one store transaction that holds the change itself, its entry
// in the admin audit and the answer kept for its Idempotency-Key; it is
// answered after that transaction is durable. Work that needs no transaction,
// such as compiling a set, is done before it begins.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// Server is the control plane. Its handler serves any number of requests;
// Run does the work in the background.
type Server struct {
	cfg     Config
	store   store.Store
	log     *slog.Logger
	now     func() time.Time
	tokens  *tokens
	hub     *hub
	metrics *metrics
	fleet   *fleet
	sets    *compiledSets
	work    workbench
	keys    *keyring
	// publisher is nil where there is no object store.
	publisher *publisher
	handler   http.Handler
	// document is the OpenAPI document.
	document []byte
}

// New prepares a control plane. ctx bounds only the preparation.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("admin configuration: %w", err)
	}
	s := &Server{cfg: cfg, store: cfg.Store, log: cfg.Logger, now: func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) }}
	var err error
	if s.keys, err = newKeyring(cfg.Keys); err != nil {
		return nil, fmt.Errorf("admin configuration: Keys: %w", err)
	}
	s.sets, s.work = newCompiledSets(), newWorkbench()
	if s.tokens, err = newTokens(ctx, cfg.Store, cfg.BootstrapToken, s.now); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(cfg.MeterProvider); err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	if s.hub, err = newHub(ctx, cfg.Store, cfg.MaxWatchers, cfg.FetchRate, s.metrics); err != nil {
		return nil, fmt.Errorf("reading the pointers: %w", err)
	}
	s.fleet = newFleet(cfg.Store, cfg.Logger, s.now, cfg.HeartbeatTimeout, &s.hub.running)
	if err := s.observeFleet(); err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	if cfg.BundleStore != nil {
		s.publisher = newPublisher(s, cfg.BundleStore)
	}
	if s.document, err = OpenAPI(cfg.Version); err != nil {
		return nil, fmt.Errorf("making the API's description: %w", err)
	}
	if s.handler, err = s.mux(); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler answers the admin API.
func (s *Server) Handler() http.Handler { return s.handler }
