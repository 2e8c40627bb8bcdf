package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

func auditRoutes() []route {
	filters := []parameter{
		{name: "since", description: "only events that occurred at this RFC 3339 time or later"},
		{name: "until", description: "only events that occurred before this RFC 3339 time"},
		{name: "request_id", description: "only events of this request"},
		{name: "decision", description: "only events with this decision", enum: []string{policy.Allow, policy.Deny}},
		{name: "event_type", description: "only events of this type, such as decision or audit_gap"},
	}
	listed := append(append([]parameter{}, filters...), paging...)
	listed = append(listed, parameter{name: "format", enum: []string{formatJSON, formatCSV, formatNDJSON},
		description: "json answers a page; csv and ndjson answer a file of everything that matches, or the newest limit of it"})
	routes := []route{
		raw(http.MethodGet, "/v1/zones/{zone}/audit", "audit.list", "List or export a zone's audit events", auditors, listed,
			"application/json", new(api.Page[api.Event]), (*Server).listAudit),
		reads("/v1/zones/{zone}/audit/by-request/{request}", "audit.by_request", "List a request's audit events, oldest first", auditors, nil, (*Server).auditByRequest),
		raw(http.MethodGet, "/v1/zones/{zone}/audit/by-request/{request}/explain", "audit.explain",
			"Explain a request: what was decided, by which policies, on which input", auditors, nil, "application/json", new(api.Explain), (*Server).explain),
		raw(http.MethodGet, "/v1/zones/{zone}/audit/tail", "audit.tail", "Follow a zone's audit events as they arrive, as server-sent events", auditors,
			[]parameter{
				{name: "since_id", description: "resume after this event, as the header Last-Event-ID does; without either, only what arrives from now on is sent", integer: true},
				filters[3], filters[4],
			}, "text/event-stream", nil, (*Server).tail),
	}
	routes[0].others = []otherAnswer{
		{status: http.StatusOK, contentType: "text/csv"},
		{status: http.StatusOK, contentType: "application/x-ndjson"},
	}
	for i := range routes { // what was decided is not forgotten with the zone
		routes[i].archived = true
	}
	return routes
}

// Formats of an audit list.
const (
	formatJSON   = "json"
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
)

func (s *Server) listAudit(w http.ResponseWriter, c *call) error {
	limit, after, err := c.page()
	if err != nil {
		return err
	}
	values := c.r.URL.Query()
	query, err := eventQuery(c.zone(), values)
	if err != nil {
		return err
	}
	query.After = after
	switch format := values.Get("format"); format {
	case "", formatJSON:
	case formatCSV, formatNDJSON:
		most := 0 // everything
		if values.Get("limit") != "" {
			most = limit
		}
		return s.exportAudit(w, c, query, format, most)
	default:
		return invalidQuery("format", "must be json, csv or ndjson")
	}
	query.Limit = limit + 1
	rows, err := s.store.Events().Query(c.r.Context(), query)
	if err != nil {
		return fmt.Errorf("reading the audit: %w", err)
	}
	page, err := paged(rows, limit, func(e store.Event) (api.Event, error) { return eventBody(e), nil }, eventCursor)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, page)
}

func eventCursor(e store.Event) store.Cursor { return store.Cursor{At: e.OccurredAt, ID: e.ID} }

// eventQuery reads the filters of an audit list.
func eventQuery(zone string, values url.Values) (store.EventQuery, error) {
	q := store.EventQuery{ZoneID: zone, RequestID: values.Get("request_id")}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return q, invalidQuery(name, "must be an RFC 3339 time")
		}
		*into = at.UTC()
	}
	f, err := eventFilter(values)
	q.Decision, q.EventType = f.decision, f.eventType
	return q, err
}

// filter is the part of the filters that a tail has too.
type filter struct{ decision, eventType string }

func eventFilter(values url.Values) (filter, error) {
	f := filter{decision: values.Get("decision"), eventType: values.Get("event_type")}
	if f.decision != "" && f.decision != policy.Allow && f.decision != policy.Deny {
		return f, invalidQuery("decision", "must be %s or %s", policy.Allow, policy.Deny)
	}
	if f.eventType != "" && !bundle.ValidID(f.eventType) {
		return f, invalidQuery("event_type", "is no type of an event")
	}
	return f, nil
}

func (f filter) matches(e store.Event) bool {
	return (f.decision == "" || f.decision == e.Decision) && (f.eventType == "" || f.eventType == e.EventType)
}

func (s *Server) auditByRequest(ctx context.Context, c *call) ([]api.Event, error) {
	rows, err := s.requestEvents(ctx, c)
	if err != nil {
		return nil, err
	}
	events := make([]api.Event, len(rows))
	for i, row := range rows {
		events[i] = eventBody(row)
	}
	return events, nil
}

// requestEvents reads the events of the request in the path, oldest first; it
// is an error that there are none.
func (s *Server) requestEvents(ctx context.Context, c *call) ([]store.Event, error) {
	id := c.path("request")
	rows, err := s.store.Events().ByRequest(ctx, c.zone(), id)
	if err != nil {
		return nil, fmt.Errorf("reading the events of request %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, refuse(http.StatusNotFound, "request_not_found", "the audit has no request %s here", id)
	}
	return rows, nil
}

func eventBody(e store.Event) api.Event {
	return api.Event{
		ID: e.ID, ZoneID: e.ZoneID, EventType: e.EventType, RequestID: e.RequestID,
		Decision: e.Decision, EvaluationStatus: e.EvaluationStatus,
		PolicySetID: e.PolicySetID, PolicySetVersionID: e.PolicySetVersionID,
		ManifestSHA: e.ManifestSHA256, BundleSHA256: e.BundleSHA256,
		DeterminingPoliciesJSON: jsonOr(e.DeterminingPolicies, "[]"),
		DiagnosticsJSON:         jsonOr(e.Diagnostics, "[]"),
		MetadataJSON:            jsonOr(e.Metadata, "{}"),
		OccurredAt:              e.OccurredAt, IngestedAt: e.IngestedAt,
	}
}

// jsonOr gives a value, or the empty one where there is none.
func jsonOr(value json.RawMessage, empty string) json.RawMessage {
	if len(value) == 0 {
		return json.RawMessage(empty)
	}
	return value
}
