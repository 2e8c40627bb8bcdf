package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// bundleType is the media type of a bundle.
const bundleType = "application/vnd.caracal.bundle+zstd"

// immutable is the Cache-Control of what is named by its hash: it never
// changes, and only who may read it may keep it.
const immutable = "private, max-age=31536000, immutable"

func bundleRoutes() []route {
	readers := slices.Concat(daemons, anyone)
	whole := raw(http.MethodGet, "/v1/bundles/{sha256}", "bundle.get", "Fetch a compressed bundle by its hash; ranges are served", readers, nil, bundleType, nil, (*Server).getBundle)
	whole.others = []otherAnswer{{status: http.StatusPartialContent, contentType: bundleType}, {status: http.StatusNotModified}}
	return []route{
		whole,
		raw(http.MethodGet, "/v1/bundles/{sha256}/envelope", "bundle.envelope", "Fetch a bundle's signature, a DSSE envelope", readers, nil, "application/json", new(json.RawMessage), (*Server).getBundleEnvelope),
		reads("/v1/trust", "trust.get", "Fetch the trust root and its rotations", nil, nil, (*Server).getTrust),
	}
}

// bundle finds the bundle that a call names, where the actor may read it.
func (s *Server) bundle(ctx context.Context, c *call) (store.Bundle, error) {
	hash := c.path("sha256")
	if !validSHA256(hash) {
		return store.Bundle{}, refuse(http.StatusBadRequest, "invalid_bundle_sha256", "a bundle is named by 64 lower-case hexadecimal digits")
	}
	var b store.Bundle
	err := s.store.View(ctx, func(tx store.Reader) error {
		var err error
		if b, err = tx.Bundle(ctx, hash); err != nil {
			return missing(err, "bundle", hash)
		}
		if c.actor.zone == "" {
			return nil
		}
		zones, err := tx.BundleZones(ctx, hash)
		if err != nil {
			return err
		}
		if !slices.Contains(zones, c.actor.zone) {
			return refuse(http.StatusForbidden, "forbidden", "this token does not reach a zone with the bundle")
		}
		return nil
	})
	return b, err
}

func (s *Server) getBundle(w http.ResponseWriter, c *call) error {
	b, err := s.bundle(c.r.Context(), c)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", bundleType)
	h.Set("ETag", `"`+b.SHA256+`"`)
	h.Set("Cache-Control", immutable)
	ranged := &rangedWriter{ResponseWriter: w}
	http.ServeContent(ranged, c.r, "", time.Time{}, bytes.NewReader(b.Data))
	if ranged.refused {
		h.Set("Cache-Control", "no-store")
		return refuse(http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable", "the bundle has %d bytes", len(b.Data))
	}
	return nil
}

// rangedWriter holds back the plain text that http.ServeContent answers for a
// range outside the content, so that the error has the shape of all others.
type rangedWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *rangedWriter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		w.refused = true
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *rangedWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

func (s *Server) getBundleEnvelope(w http.ResponseWriter, c *call) error {
	b, err := s.bundle(c.r.Context(), c)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", immutable)
	writeJSON(w, http.StatusOK, b.Envelope)
	return nil
}

func (s *Server) getTrust(ctx context.Context, _ *call) (bundle.TrustResponse, error) {
	var answer bundle.TrustResponse
	err := s.store.View(ctx, func(tx store.Reader) error {
		keys, err := s.keys.in(ctx, tx)
		if err == nil {
			answer.Roots = keys.Roots
		}
		return err
	})
	return answer, err
}

// validSHA256 tells whether text is a SHA-256 as it is written here.
func validSHA256(text string) bool {
	if len(text) != 64 {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
		default:
			return false
		}
	}
	return true
}
