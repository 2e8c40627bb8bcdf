package daemon

import (
	"encoding/json"
	"time"

	"github.com/valyala/fasthttp"
)

// Status answers GET /v1/zones/{z}/status.
type Status struct {
	ZoneID string `json:"zone_id"`
	// Loaded tells whether the zone answers: by a version, or, where
	// PolicySetVersionID is null, with the denial that nothing is active.
	Loaded             bool    `json:"loaded"`
	PolicySetID        *string `json:"policy_set_id"`
	PolicySetVersionID *string `json:"policy_set_version_id"`
	ManifestSHA256     *string `json:"manifest_sha256"`
	BundleSHA256       *string `json:"bundle_sha256"`
	// Sequence is that of the pointer that is served, -1 where there is none.
	Sequence   int64      `json:"sequence"`
	LoadedAt   *time.Time `json:"loaded_at"`
	AgeSeconds *float64   `json:"age_seconds"`
	// Stale tells that what is served may not be what people want: its pointer
	// has expired, or a newer one could not be loaded.
	Stale     bool       `json:"stale"`
	ExpiresAt *time.Time `json:"expires_at"`
	// WantedSequence is that of the newest verified pointer, -1 where there is none.
	WantedSequence int64 `json:"wanted_sequence"`
	// Detail says why the newest pointer is not served; empty where it is.
	Detail string `json:"detail"`
}

func (z *zone) status(now time.Time) Status {
	z.mu.Lock()
	st := Status{ZoneID: z.id, Sequence: noSequence, WantedSequence: z.seen, Detail: z.detail()}
	z.mu.Unlock()
	s := z.current.Load()
	if s == nil {
		return st
	}
	p := s.pointer
	age := now.Sub(s.loadedAt).Seconds()
	st.Loaded, st.Sequence = true, p.Sequence
	st.PolicySetID, st.PolicySetVersionID = p.PolicySetID, p.PolicySetVersionID
	st.ManifestSHA256, st.BundleSHA256 = orNil(p.ManifestSHA256), orNil(p.BundleSHA256)
	st.LoadedAt, st.AgeSeconds, st.ExpiresAt = &s.loadedAt, &age, &p.ExpiresAt
	st.Stale = !now.Before(p.ExpiresAt) || st.WantedSequence > p.Sequence || st.Detail != ""
	return st
}

func (d *Daemon) handleStatus(ctx *fasthttp.RequestCtx, id string) {
	z, ok := (*d.zones.Load())[id]
	if !ok {
		writeProblem(ctx, refuse(fasthttp.StatusNotFound, "zone_not_found", "this daemon knows no zone %.128q", id))
		return
	}
	data, err := json.Marshal(z.status(d.cfg.Now()))
	if err != nil {
		d.log.Error("encoding a status", "error", err)
		writeProblem(ctx, refuse(fasthttp.StatusInternalServerError, "internal_error", "the status could not be encoded"))
		return
	}
	writeJSON(ctx, data)
}
