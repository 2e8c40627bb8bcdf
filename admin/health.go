package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// health registers what probes and scrapers ask for. It needs no token.
func (s *Server) health(mux *http.ServeMux) error {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_ = respond(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		err := s.store.View(ctx, func(tx store.Reader) error {
			_, err := tx.Zones(ctx, 1, store.Cursor{})
			return err
		})
		if err != nil {
			s.log.Error("not ready", "error", err)
			s.fail(w, r, refuse(http.StatusServiceUnavailable, "not_ready", "the store does not answer"))
			return
		}
		_ = respond(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	if s.cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.cfg.Metrics)
	}
	return nil
}
