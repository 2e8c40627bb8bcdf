package admin_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

func TestIdempotencyKey(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	path := "/v1/zones/" + zone + "/policies"
	req := api.PolicyCreate{Name: "readers", Content: readersOnly}
	first := p.call("POST", path, root, req, "Idempotency-Key", "k1")
	again := p.call("POST", path, root, req, "Idempotency-Key", "k1")
	if first.status != 201 || again.status != 201 || string(first.body) != string(again.body) {
		t.Fatalf("answered %d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
	if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replayed: %q, %q", first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
	}
	if list := must[api.Page[api.Policy]](p, 200, "GET", path, root, nil); len(list.Items) != 1 {
		t.Errorf("there are %d policies", len(list.Items))
	}
	if entries := p.adminAudit("/v1/admin-audit?action=policy.create", root); len(entries) != 1 {
		t.Errorf("audited as %+v", entries)
	}

	req.Name = "other"
	p.refused(p.call("POST", path, root, req, "Idempotency-Key", "k1"), 422, "idempotency_key_reused")
	p.refused(p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "x"}, "Idempotency-Key", "k1"), 422, "idempotency_key_reused")
	author := p.token(zone, "author") // a key is its actor's
	if a := p.call("POST", path, author, req, "Idempotency-Key", "k1"); a.status != 201 {
		t.Errorf("another actor with the same key: %d %s", a.status, a.body)
	}

	// A refusal is not kept: what was wrong may be put right.
	req = api.PolicyCreate{Name: "later", Content: "package"}
	p.refused(p.call("POST", path, root, req, "Idempotency-Key", "k2"), 422, "invalid_rego")
	req.Content = readersOnly
	if a := p.call("POST", path, root, req, "Idempotency-Key", "k2"); a.status != 201 {
		t.Errorf("the good call after a refused one: %d %s", a.status, a.body)
	}
	for _, key := range []string{strings.Repeat("k", 256), "a b", "a\tb", "ä"} {
		p.refused(p.call("POST", path, root, req, "Idempotency-Key", key), 400, "invalid_idempotency_key")
	}
	if a := p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "longest key"}, "Idempotency-Key", strings.Repeat("k", 255)); a.status != 201 {
		t.Errorf("a key of 255 characters: %d %s", a.status, a.body)
	}
}

// A secret is shown once, also to whoever repeats the call that made it.
func TestIdempotencyOfSecrets(t *testing.T) {
	p := newPlane(t, nil)
	req := api.TokenCreate{Name: "ci", Roles: []string{"viewer"}}
	if a := p.call("POST", "/v1/tokens", root, req, "Idempotency-Key", "k1"); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	p.refused(p.call("POST", "/v1/tokens", root, req, "Idempotency-Key", "k1"), 409, "idempotency_key_used")
	if list := must[api.Page[api.Token]](p, 200, "GET", "/v1/tokens", root, nil); len(list.Items) != 1 {
		t.Errorf("there are %d tokens", len(list.Items))
	}
}

// The same call made many times at once is done once.
func TestConcurrentIdempotencyKeys(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	for _, tt := range []struct {
		name, path string
		req        any
		status     int
	}{
		{"a policy", "/v1/zones/" + zone + "/policies", api.PolicyCreate{Name: "new", Content: denyAll}, 201},
		{"a set version", set + "/versions", manifest(p.policy(zone, "closed", denyAll).VersionID), 201},
		{"an activation", set + "/activate", api.ActivateRequest{VersionID: v.ID}, 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const n = 8
			var wg sync.WaitGroup
			answers, errs := make([]answer, n), make([]error, n)
			for i := range n {
				wg.Go(func() {
					answers[i], errs[i] = p.try(t.Context(), "POST", tt.path, root, tt.req, "Idempotency-Key", strings.ReplaceAll(tt.name, " ", "-"))
				})
			}
			wg.Wait()
			for i, a := range answers {
				if errs[i] != nil || a.status != tt.status || string(a.body) != string(answers[0].body) {
					t.Errorf("%v: %d %s, another %s", errs[i], a.status, a.body, answers[0].body)
				}
			}
		})
	}
	if now := p.active(zone); now.Sequence != 1 {
		t.Errorf("governs %+v", now)
	}
	if list := must[api.Page[api.PolicySetVersion]](p, 200, "GET", set+"/versions", root, nil); len(list.Items) != 2 {
		t.Errorf("there are %d versions", len(list.Items))
	}
}

// The chain of the admin audit is whole after writes of every kind at once.
func TestConcurrentWritesKeepTheChain(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	before := len(p.adminAudit("/v1/admin-audit", root))
	const n = 6
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for _, c := range []struct {
				path   string
				body   any
				status int
			}{
				{"/v1/zones/" + zone + "/policies", api.PolicyCreate{Name: "same", Content: denyAll}, 0}, // one of them wins
				{set + "/activate", api.ActivateRequest{VersionID: v.ID}, 202},
				{set + "/versions", manifest(v.ID), 422},
				{"/v1/zones", api.ZoneCreate{Name: strings.Repeat("z", i+1)}, 201},
			} {
				a, err := p.try(t.Context(), "POST", c.path, root, c.body)
				if err != nil || c.status != 0 && a.status != c.status || c.status == 0 && a.status != 201 && a.status != 409 {
					t.Errorf("%s: %v, %d %s", c.path, err, a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	all := p.adminAudit("/v1/admin-audit?limit=500", root)
	if len(all) != before+4*n {
		t.Errorf("%d writes left %d entries", 4*n, len(all)-before)
	}
	won := 0
	for i, e := range all {
		if e.ChainSeq != int64(len(all)-i) {
			t.Fatalf("at %d is entry %d", i, e.ChainSeq)
		}
		if e.Action == "policy.create" && e.StatusCode == 201 {
			var payload struct{ Name string }
			if err := json.Unmarshal(e.PayloadJSON, &payload); err != nil {
				t.Error(err)
			}
			if payload.Name == "same" {
				won++
			}
		}
	}
	if won != 1 {
		t.Errorf("%d calls made the policy", won)
	}
	if wrong, err := p.store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store's check says %v, %v", wrong, err)
	}
}
