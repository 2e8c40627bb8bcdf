package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// AuditQuery filters audit events; zero fields do not.
type AuditQuery struct {
	Since, Until                   time.Time
	RequestID, Decision, EventType string
}

func (q AuditQuery) query(at Page) url.Values {
	v := at.query()
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	for name, text := range map[string]string{"request_id": q.RequestID, "decision": q.Decision, "event_type": q.EventType} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

// Audit lists a zone's audit events.
func (c *Client) Audit(ctx context.Context, zone string, q AuditQuery, at Page) (api.Page[api.Event], error) {
	return get[api.Page[api.Event]](ctx, c, path("v1", "zones", zone, "audit"), q.query(at))
}

// AuditByRequest lists the events of a request, oldest first.
func (c *Client) AuditByRequest(ctx context.Context, zone, request string) ([]api.Event, error) {
	return get[[]api.Event](ctx, c, path("v1", "zones", zone, "audit", "by-request", request), nil)
}

// SummaryQuery says what AuditSummary counts; zero fields leave it to the
// control plane: the last hour, by the minute.
type SummaryQuery struct {
	Since, Until time.Time
	Step         time.Duration
}

// AuditSummary counts a zone's decisions by step of time and by daemon.
func (c *Client) AuditSummary(ctx context.Context, zone string, q SummaryQuery) (api.AuditSummary, error) {
	v := AuditQuery{Since: q.Since, Until: q.Until}.query(Page{})
	if q.Step > 0 {
		v.Set("step_seconds", strconv.Itoa(int(q.Step/time.Second)))
	}
	return get[api.AuditSummary](ctx, c, path("v1", "zones", zone, "audit", "summary"), v)
}

// Explain tells how a request was decided, with the inputs that were evaluated.
func (c *Client) Explain(ctx context.Context, zone, request string) (api.Explain, error) {
	return get[api.Explain](ctx, c, path("v1", "zones", zone, "audit", "by-request", request, "explain"), nil)
}

// Export streams the events that match, in the format csv or ndjson. The caller
// closes it. A stream that breaks off ends with an error, not with io.EOF.
func (c *Client) Export(ctx context.Context, zone string, q AuditQuery, format string) (io.ReadCloser, error) {
	v := q.query(Page{})
	v.Set("format", format)
	return c.stream(ctx, path("v1", "zones", zone, "audit"), v)
}

// stream opens an answer that is read while it comes.
func (c *Client) stream(ctx context.Context, path string, query url.Values, header ...string) (io.ReadCloser, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what came is what there is to say
		_ = resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %w", path, readError(resp, data))
	}
	return resp.Body, nil
}

// AdminAuditQuery filters the admin audit; zero fields do not.
type AdminAuditQuery struct {
	Since, Until               time.Time
	ActorID, Action, RequestID string
}

// AdminAudit lists who did what in a zone; zone "" is everywhere.
func (c *Client) AdminAudit(ctx context.Context, zone string, q AdminAuditQuery, at Page) (api.Page[api.AdminEvent], error) {
	v := AuditQuery{Since: q.Since, Until: q.Until, RequestID: q.RequestID}.query(at)
	for name, text := range map[string]string{"actor_id": q.ActorID, "action": q.Action} {
		if text != "" {
			v.Set(name, text)
		}
	}
	p := "/v1/admin-audit"
	if zone != "" {
		p = path("v1", "zones", zone, "admin-audit")
	}
	return get[api.Page[api.AdminEvent]](ctx, c, p, v)
}

// WhoAmI says whose token the client has.
func (c *Client) WhoAmI(ctx context.Context) (api.WhoAmI, error) {
	return get[api.WhoAmI](ctx, c, "/v1/whoami", nil)
}

// Tokens lists tokens.
func (c *Client) Tokens(ctx context.Context, at Page) (api.Page[api.Token], error) {
	return get[api.Page[api.Token]](ctx, c, "/v1/tokens", at.query())
}

// CreateToken creates a token; only this answer has its secret.
func (c *Client) CreateToken(ctx context.Context, req api.TokenCreate) (api.TokenCreated, error) {
	return send[api.TokenCreated](ctx, c, http.MethodPost, "/v1/tokens", nil, req)
}

// RevokeToken revokes a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, path("v1", "tokens", id), nil, nil)
	return err
}

// Trust reads the trust roots, oldest first.
func (c *Client) Trust(ctx context.Context) (bundle.TrustResponse, error) {
	return get[bundle.TrustResponse](ctx, c, "/v1/trust", nil)
}

// Bundle reads a compressed bundle and checks its hash.
func (c *Client) Bundle(ctx context.Context, sha256 string) ([]byte, error) {
	data, err := c.call(ctx, http.MethodGet, path("v1", "bundles", sha256), nil, nil)
	if err != nil {
		return nil, err
	}
	if got := bundle.SHA256Hex(data); got != sha256 {
		return nil, fmt.Errorf("%w: what came for the bundle %s has the SHA-256 %s", bundle.ErrHash, sha256, got)
	}
	return data, nil
}

// BundleEnvelope reads the signature of a bundle.
func (c *Client) BundleEnvelope(ctx context.Context, sha256 string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, path("v1", "bundles", sha256, "envelope"), nil)
}

// OpenAPI reads the document that describes the API.
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/openapi.json", nil)
}
