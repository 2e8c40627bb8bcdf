package admin

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/caracalai/caracald/bundle"
)

// Bounds of what a daemon says of itself.
const (
	maxDaemonText   = 256
	maxDaemonLabels = 64
	// maxUptime and maxRate are beyond what any daemon has: a century in seconds, and decisions a second.
	maxUptime = 100 * 366 * 24 * 3600
	maxRate   = 1e9
	// maxDetail is the most bytes of a failure's reason that are kept.
	maxDetail = 4096
	// maxBase is longer than any revision.
	maxBase = 128
)

func receiptRoutes() []route {
	return []route{{
		method: http.MethodPost, path: "/v1/receipts", id: "receipt.put", summary: "Report what a daemon has loaded, or why it could not",
		roles: daemons, request: new(bundle.ReceiptReport), status: http.StatusNoContent,
		handle: (*Server).putReceipts,
	}}
}

// putReceipts takes in what a daemon reports. A whole report replaces the one before,
// so repeating it changes nothing; one that builds on a base is refused where the
// base is not what is stored any more. Reports come with every heartbeat and are
// nobody's decision, so they are not in the admin audit.
func (s *Server) putReceipts(w http.ResponseWriter, c *call) error {
	ctx := c.r.Context()
	body, err := readBody(c.r, maxBody)
	if err != nil {
		return err
	}
	report := new(bundle.ReceiptReport)
	if err := decodeBody(body, report); err != nil {
		return err
	}
	if err := s.checkReport(ctx, c.actor, report); err != nil {
		return err
	}
	took, err := s.fleet.report(ctx, c.actor, report, c.now)
	if err != nil {
		return err
	}
	s.metrics.received(ctx, bundle.ReceiptLoaded, took.loaded)
	s.metrics.received(ctx, bundle.ReceiptFailed, took.failed)
	if took.revision != "" {
		w.Header().Set(bundle.RevisionHeader, took.revision)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) checkReport(ctx context.Context, a actor, report *bundle.ReceiptReport) error {
	if !bundle.ValidID(report.DaemonID) {
		return invalidBody("/daemon_id", "must be 1 to 128 of A-Z, a-z, 0-9 and _.:-")
	}
	for _, t := range []struct{ field, text string }{{"/name", report.Name}, {"/version", report.Version}} {
		if len(t.text) > maxDaemonText {
			return invalidBody(t.field, "is longer than %d bytes", maxDaemonText)
		}
	}
	if len(report.Labels) > maxDaemonLabels {
		return invalidBody("/labels", "has more than %d labels", maxDaemonLabels)
	}
	for name, value := range report.Labels {
		if name == "" || len(name) > maxDaemonText || len(value) > maxDaemonText {
			return invalidBody("/labels", "has a label without a name or longer than %d bytes", maxDaemonText)
		}
	}
	switch {
	case len(report.Base) > maxBase:
		return invalidBody("/base", "is longer than %d bytes", maxBase)
	case report.Base != "" && report.Complete:
		return invalidBody("/base", "and complete contradict each other")
	}
	if err := checkStatus(report.Status); err != nil {
		return err
	}
	seen := make(map[string]bool, len(report.Zones))
	for i, r := range report.Zones {
		field := func(name string) string { return "/zones/" + strconv.Itoa(i) + "/" + name }
		switch {
		case !bundle.ValidID(r.ZoneID):
			return invalidBody(field("zone_id"), "is no zone's id")
		case seen[r.ZoneID]:
			return invalidBody(field("zone_id"), "repeats zone %s", r.ZoneID)
		case r.State != bundle.ReceiptLoaded && r.State != bundle.ReceiptFailed:
			return invalidBody(field("state"), "must be %q or %q", bundle.ReceiptLoaded, bundle.ReceiptFailed)
		case r.Sequence < 0:
			return invalidBody(field("sequence"), "must not be negative")
		case r.ServingSequence < -1:
			return invalidBody(field("serving_sequence"), "must be -1, for nothing, or more")
		case r.PolicySetVersionID != nil && !bundle.ValidID(*r.PolicySetVersionID):
			return invalidBody(field("policy_set_version_id"), "is no version's id")
		case r.ServingVersionID != nil && !bundle.ValidID(*r.ServingVersionID):
			return invalidBody(field("serving_version_id"), "is no version's id")
		case r.ManifestSHA256 != "" && !validSHA256(r.ManifestSHA256):
			return invalidBody(field("manifest_sha256"), "is no SHA-256")
		case r.BundleSHA256 != "" && !validSHA256(r.BundleSHA256):
			return invalidBody(field("bundle_sha256"), "is no SHA-256")
		case !a.reaches(r.ZoneID):
			return refuse(http.StatusForbidden, "forbidden", "this token does not reach zone %s", r.ZoneID)
		}
		seen[r.ZoneID] = true
		known, err := s.hub.knows(ctx, r.ZoneID)
		if err != nil {
			return err
		}
		if !known {
			return noZone(r.ZoneID)
		}
	}
	return nil
}

// checkStatus accepts what a daemon can say of itself, and shortens its words.
func checkStatus(s *bundle.DaemonStatus) error {
	if s == nil {
		return nil
	}
	for _, n := range []struct {
		field string
		value int64
	}{
		{"spool_records", s.SpoolRecords}, {"spool_bytes", s.SpoolBytes}, {"spool_max_bytes", s.SpoolMaxBytes}, {"audit_gaps", s.AuditGaps},
	} {
		if n.value < 0 {
			return invalidBody("/status/"+n.field, "must not be negative")
		}
	}
	for _, n := range []struct {
		field string
		value *float64
		most  float64
	}{
		{"uptime_seconds", &s.UptimeSeconds, maxUptime}, {"window_seconds", &s.WindowSeconds, maxUptime}, {"decisions_per_second", &s.DecisionsPerSecond, maxRate},
		{"latency_p50_seconds", s.LatencyP50Seconds, maxUptime}, {"latency_p99_seconds", s.LatencyP99Seconds, maxUptime}, {"cache_hit_share", s.CacheHitShare, 1},
	} {
		if n.value != nil && (math.IsNaN(*n.value) || *n.value < 0 || *n.value > n.most) {
			return invalidBody("/status/"+n.field, "must be from 0 to %g", n.most)
		}
	}
	if y := s.StartedAt.Year(); y < 1 || y > 9999 { // RFC 3339 cannot say it
		return invalidBody("/status/started_at", "must be of the years 1 to 9999")
	}
	s.StartedAt, s.Detail = s.StartedAt.UTC(), shorten(s.Detail, maxDetail)
	return nil
}

// shorten cuts text to at most n bytes, between characters.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	const cut = "…"
	return strings.ToValidUTF8(text[:n-len(cut)], "") + cut
}
