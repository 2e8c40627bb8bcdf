package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// healthy is what probes are answered.
type healthy struct {
	// Status is "ok", or "ready".
	Status string `json:"status"`
}

// healthRoutes are what probes and scrapers ask for. They need no token.
func healthRoutes() []route {
	routes := []route{
		reads("/healthz", "health.live", "Say that the process serves", nil, nil, (*Server).live),
		reads("/readyz", "health.ready", "Say whether the store answers", nil, nil, (*Server).ready),
		raw(http.MethodGet, "/metrics", "health.metrics", "Read the metrics, where the process exposes them", nil, nil, "text/plain", nil, (*Server).exposeMetrics),
	}
	for i := range routes {
		routes[i].public = true
	}
	return routes
}

func (s *Server) live(context.Context, *call) (healthy, error) {
	return healthy{Status: "ok"}, nil
}

func (s *Server) ready(ctx context.Context, _ *call) (healthy, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := s.store.View(ctx, func(tx store.Reader) error {
		_, err := tx.Zones(ctx, 1, store.Cursor{})
		return err
	})
	if err != nil {
		s.log.Error("not ready", "error", err)
		return healthy{}, refuse(http.StatusServiceUnavailable, "not_ready", "the store does not answer")
	}
	return healthy{Status: "ready"}, nil
}

func (s *Server) exposeMetrics(w http.ResponseWriter, c *call) error {
	if s.cfg.Metrics == nil {
		return refuse(http.StatusNotFound, "not_found", "metrics are not exposed here")
	}
	s.cfg.Metrics.ServeHTTP(w, c.r)
	return nil
}
