package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/daemon/client"
	"github.com/caracalai/caracald/daemon/client/clienttest"
)

// grants allows the scope read and says why it denies others.
const grants = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "not_granted"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.context.requested_scopes == ["read"]
}
`

func newClient(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// asks is an input that asks for a scope.
func asks(zone, scope string) *client.Input {
	return &client.Input{
		Principal: client.Principal{Type: "agent", ID: "agent-1", ZoneID: zone, Lifecycle: "task"},
		Resource:  client.Resource{Type: "service", ID: "res-1", Identifier: "urn:res-1"},
		Action:    client.Action{ID: "token:exchange"},
		Context:   client.Context{RequestedScopes: []string{scope}, SubjectClaims: map[string]any{"sub": "<alice>"}},
	}
}

func encoded(t testing.TB, in *client.Input) json.RawMessage {
	t.Helper()
	filled := *in
	filled.SchemaVersion, filled.Resource.Scopes, filled.Context.ActorClaims = client.SchemaVersion, []string{}, map[string]any{}
	data, err := json.Marshal(filled)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ways are the addresses of a rig's daemon.
func ways(r *clienttest.Rig) map[string]string {
	return map[string]string{"TCP": r.URL, "socket": "unix://" + r.Socket, "socket, short": "unix:" + r.Socket}
}

func TestDecide(t *testing.T) {
	rig := clienttest.Start(t, nil)
	version := rig.Activate(map[string]string{"grants": grants})
	for name, addr := range ways(rig) {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, client.Config{Addr: addr})
			ctx := t.Context()
			if err := c.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			id := "request-" + filepath.Base(t.Name())
			id = strings.ReplaceAll(id, ",", "")
			d, err := c.Decide(client.WithRequestID(ctx, id), asks(rig.Zone, "read"))
			if err != nil || !d.Allowed() {
				t.Fatalf("%+v, %v", d, err)
			}
			if d.RequestID != id || d.DecisionID == "" || d.ZoneID != rig.Zone || d.EvaluationStatus != client.StatusComplete ||
				d.PolicySetVersionID != version.ID || d.ManifestSHA256 != version.ManifestSHA256 || d.BundleSHA256 != version.BundleSHA256 {
				t.Errorf("%+v, want version %+v", d, version)
			}
			if list, err := d.Policies(); err != nil || len(list) != 1 || list[0].Policy != "grants" || list[0].PolicyID == "" || list[0].PolicyVersionID == "" {
				t.Errorf("policies %+v, %v", list, err)
			}
			for _, record := range rig.Recorded(id, 1) {
				if record.ID != d.DecisionID || record.Decision != client.Allow {
					t.Errorf("record %+v of decision %+v", record, d)
				}
			}
			if d, err = c.Decide(ctx, asks(rig.Zone, "write")); err != nil || d.Allowed() || d.Decision != client.Deny || fmt.Sprint(d.Reasons()) != "[not_granted]" {
				t.Errorf("%+v, %v", d, err)
			}
			if d, err = c.DecideJSON(ctx, encoded(t, asks(rig.Zone, "read"))); err != nil || !d.Allowed() {
				t.Errorf("%+v, %v", d, err)
			}
			other, err := c.Decide(ctx, asks("another-zone", "read"))
			if err != nil || other.Allowed() || other.EvaluationStatus != client.StatusError || other.PolicySetVersionID != "" || other.ZoneID != "another-zone" {
				t.Errorf("%+v, %v", other, err)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	rig := clienttest.Start(t, func(cfg *daemon.Config) { cfg.MaxBatch = 10 })
	rig.Activate(map[string]string{"grants": grants})
	for name, addr := range ways(rig) {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, client.Config{Addr: addr})
			bad := asks(rig.Zone, "read")
			bad.Principal.Lifecycle = "forever"
			inputs := []*client.Input{asks(rig.Zone, "read"), asks(rig.Zone, "write"), bad, asks("another-zone", "read"), asks(rig.Zone, "read")}
			list, err := c.DecideBatch(t.Context(), inputs)
			if err != nil || len(list) != len(inputs) {
				t.Fatalf("%+v, %v", list, err)
			}
			for i, want := range []bool{true, false, false, false, true} {
				if list[i].Allowed() != want || (list[i].Err != nil) != (i == 2) || list[i].RequestID != list[0].RequestID {
					t.Errorf("%d: %+v", i, list[i])
				}
			}
			var refused *client.Error
			if err := list[2].Err; !errors.Is(err, client.ErrInvalidInput) || !errors.As(err, &refused) || refused.Code != "invalid_input" || !strings.Contains(refused.Description, "lifecycle") {
				t.Errorf("the bad input: %v", err)
			}
			raw := []json.RawMessage{encoded(t, inputs[1]), encoded(t, inputs[0])}
			if list, err = c.DecideBatchJSON(t.Context(), raw); err != nil || list[0].Allowed() || !list[1].Allowed() {
				t.Errorf("%+v, %v", list, err)
			}
			if list, err = c.DecideBatch(t.Context(), nil); err != nil || len(list) != 0 {
				t.Errorf("nothing: %+v, %v", list, err)
			}
			many := make([]*client.Input, 11)
			for i := range many {
				many[i] = inputs[0]
			}
			list, err = c.DecideBatch(t.Context(), many)
			if !errors.Is(err, client.ErrInvalidInput) || len(list) != len(many) {
				t.Fatalf("too many: %+v, %v", list, err)
			}
			for _, o := range list {
				if o.Allowed() || !errors.Is(o.Err, client.ErrRefused) {
					t.Errorf("too many: %+v", o)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	const token = "a-token-of-these-tests"
	rig := clienttest.Start(t, func(cfg *daemon.Config) { cfg.DecideTokens = []string{token} })
	rig.Activate(map[string]string{"grants": grants})
	ctx := t.Context()
	if d, err := newClient(t, client.Config{Addr: rig.URL, Token: token}).Decide(ctx, asks(rig.Zone, "read")); err != nil || !d.Allowed() {
		t.Errorf("%+v, %v", d, err)
	}
	var refused *client.Error
	d, err := newClient(t, client.Config{Addr: rig.URL}).Decide(ctx, asks(rig.Zone, "read"))
	if d.Allowed() || d.Decision != client.Deny || !errors.Is(err, client.ErrUnauthorized) || !errors.As(err, &refused) || refused.Status != 401 || refused.Code != "unauthorized" || refused.RequestID == "" {
		t.Errorf("without a token: %+v, %v", d, err)
	}
	c := newClient(t, client.Config{Addr: "unix://" + rig.Socket})
	incomplete := asks(rig.Zone, "read")
	incomplete.Principal.Lifecycle = "forever"
	if d, err = c.Decide(ctx, incomplete); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) || !errors.Is(err, client.ErrRefused) || errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a bad input: %+v, %v", d, err)
	}
	if d, err = c.Decide(ctx, nil); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) {
		t.Errorf("nil: %+v, %v", d, err)
	}
	unencodable := asks(rig.Zone, "read")
	unencodable.Context.ActorClaims = map[string]any{"f": func() {}}
	if d, err = c.Decide(ctx, unencodable); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) {
		t.Errorf("what is no JSON: %+v, %v", d, err)
	}
	if list, err := c.DecideBatch(ctx, []*client.Input{asks(rig.Zone, "read"), nil}); !errors.Is(err, client.ErrInvalidInput) || len(list) != 2 || list[0].Allowed() || list[1].Allowed() {
		t.Errorf("a batch with nil: %+v, %v", list, err)
	}
	zone := fmt.Sprintf(`"principal":{"zone_id":%q}`, rig.Zone)
	for _, raw := range []string{"", "{", "[]", "null", "7", `{}`, `{"principal":7}`, `{"principal":{"zone_id":7}}`, `{"principal":{"zone_id":""}}`, `{` + zone + `,` + zone + `}`, `{"Principal":{"zone_id":"z"}}`, `{"principal":{"Zone_ID":"z"}}`} {
		if d, err := c.DecideJSON(ctx, json.RawMessage(raw)); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) || errors.Is(err, client.ErrRefused) {
			t.Errorf("%s: %+v, %v", raw, d, err)
		}
		if list, err := c.DecideBatchJSON(ctx, []json.RawMessage{json.RawMessage(raw)}); len(list) != 1 || list[0].Allowed() || !errors.Is(err, client.ErrInvalidInput) {
			t.Errorf("%s: %+v, %v", raw, list, err)
		}
	}
	if d, err = c.DecideJSON(ctx, json.RawMessage(`{`+zone+`}`)); d.Allowed() || !errors.As(err, &refused) || refused.Status != 400 {
		t.Errorf("without the rest: %+v, %v", d, err)
	}
	for _, id := range []string{"", "a b", "a\r\nb", strings.Repeat("x", 129)} {
		if d, err := c.Decide(client.WithRequestID(ctx, id), asks(rig.Zone, "read")); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) {
			t.Errorf("request id %q: %+v, %v", id, d, err)
		}
	}
	large := asks(rig.Zone, "read")
	large.Context.SubjectClaims["pad"] = strings.Repeat("x", 20<<20)
	if d, err := c.Decide(ctx, large); d.Allowed() || !errors.Is(err, client.ErrInvalidInput) && !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("20 MiB: %+v, %v", d, err)
	}
	if d, err := c.Decide(ctx, asks(rig.Zone, "read")); err != nil || !d.Allowed() {
		t.Errorf("after all that: %+v, %v", d, err)
	}
}

// A daemon that is gone is an error and a deny; once it is back the client's
// kept connections, all of them stale, cost no call.
func TestDaemonGoesAndComesBack(t *testing.T) {
	rig := clienttest.Start(t, nil)
	rig.Activate(map[string]string{"grants": grants})
	for name, addr := range ways(rig) {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, client.Config{Addr: addr})
			all := func() {
				var work sync.WaitGroup
				for range 16 {
					work.Go(func() {
						if d, err := c.Decide(t.Context(), asks(rig.Zone, "read")); err != nil || !d.Allowed() {
							t.Errorf("%+v, %v", d, err)
						}
					})
				}
				work.Wait()
			}
			all()
			rig.StopDaemon()
			rig.StartDaemon()
			all()
			rig.StopDaemon()
			d, err := c.Decide(t.Context(), asks(rig.Zone, "read"))
			if d.Allowed() || d.Decision != client.Deny || !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrRefused) {
				t.Errorf("without a daemon: %+v, %v", d, err)
			}
			if list, err := c.DecideBatch(t.Context(), []*client.Input{asks(rig.Zone, "read")}); len(list) != 1 || list[0].Allowed() || !errors.Is(list[0].Err, client.ErrUnavailable) || !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("without a daemon: %+v, %v", list, err)
			}
			if err := c.Ready(t.Context()); !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("without a daemon: %v", err)
			}
			rig.StartDaemon()
			all()
		})
	}
}

// The trace of a call's context is in the audit record.
func TestTraceContext(t *testing.T) {
	rig := clienttest.Start(t, nil)
	rig.Activate(map[string]string{"grants": grants})
	c := newClient(t, client.Config{Addr: rig.URL, Inject: func(ctx context.Context, h client.Headers) {
		propagation.TraceContext{}.Inject(ctx, h)
		h.Set("Authorization", "no")
		h.Set("X-Request-Id", "no")
		h.Set("x-evil", "a\r\nHost: b")
		h.Set("bad name", "x")
		h.Set("X-Good", "1")
		h.Set("x-good", "2")
		if h.Get("X-GOOD") != "2" || len(h.Keys()) != 2 || h.Get("x-evil") != "" || h.Get("Authorization") != "" {
			t.Errorf("headers %v", h.Keys())
		}
	}})
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}})
	ctx := client.WithRequestID(trace.ContextWithSpanContext(t.Context(), span), "traced")
	if d, err := c.Decide(ctx, asks(rig.Zone, "read")); err != nil || !d.Allowed() {
		t.Fatalf("%+v, %v", d, err)
	}
	if got := string(rig.Recorded("traced", 1)[0].MetadataJSON); !strings.Contains(got, span.TraceID().String()) || !strings.Contains(got, span.SpanID().String()) {
		t.Errorf("metadata %s", got)
	}
}

// Many callers share few connections.
func TestConcurrent(t *testing.T) {
	rig := clienttest.Start(t, nil)
	rig.Activate(map[string]string{"grants": grants})
	for name, addr := range ways(rig) {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, client.Config{Addr: addr, MaxConnections: 4, Timeout: time.Minute})
			scopes := []string{"read", "write"}
			var work sync.WaitGroup
			for i := range 16 {
				work.Go(func() {
					for k := range 25 {
						ctx, cancel := context.WithCancel(t.Context())
						id := fmt.Sprintf("caller-%d-%d", i, k)
						d, err := c.Decide(client.WithRequestID(ctx, id), asks(rig.Zone, scopes[(i+k)%2]))
						if err != nil || d.Allowed() != ((i+k)%2 == 0) || d.RequestID != id {
							t.Errorf("%+v, %v", d, err)
						}
						cancel()
					}
				})
			}
			work.Wait()
		})
	}
}

func TestZeroDenies(t *testing.T) {
	for _, d := range []client.Decision{
		{}, {Decision: client.Allow}, {Decision: client.Allow, EvaluationStatus: client.StatusError}, {Decision: "Allow", EvaluationStatus: client.StatusComplete},
		{Decision: client.Deny, EvaluationStatus: client.StatusComplete},
	} {
		if d.Allowed() {
			t.Errorf("%+v allows", d)
		}
	}
	if (&client.Outcome{}).Allowed() {
		t.Error("a zero outcome allows")
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []client.Config{
		{Addr: "127.0.0.1:8181"}, {Addr: "ftp://127.0.0.1"}, {Addr: "http://"}, {Addr: "unix:"}, {Addr: "unix://"}, {Addr: "http://u:p@h"}, {Addr: "http://h/?q"},
		{Addr: "http://h\r\nX: y"}, {Token: "a\r\nb"}, {Timeout: -1}, {MaxConnections: -1}, {IdleTimeout: -1}, {MaxAnswerBytes: -1},
	} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
