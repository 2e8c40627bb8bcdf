package admin_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

func TestActivateMovesThePointer(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, first := p.governed("one", readersOnly)
	if now := p.active(zone); now.ZoneID != zone || now.Sequence != 0 || now.PolicySetID != nil || now.PolicySetVersionID != nil || now.ManifestSHA256 != nil || now.BundleSHA256 != nil || now.Since.IsZero() {
		t.Errorf("a new zone has %+v", now)
	}
	body := must[map[string]any](p, 202, "POST", set+"/activate", root, api.ActivateRequest{VersionID: first.ID, Reason: "the beginning"})
	if keys := keysOf(body); keys != "activated outbox_id sequence status_url version_id" {
		t.Errorf("the answer has the keys %q", keys)
	}
	if body["activated"] != true || body["version_id"] != first.ID || body["sequence"] != 1.0 {
		t.Errorf("answered %v", body)
	}
	status, err := url.Parse(body["status_url"].(string))
	if err != nil || status.Path != set+"/activation-status" || status.Query().Get("version_id") != first.ID || status.Query().Get("outbox_id") != body["outbox_id"] {
		t.Errorf("the status is at %v, %v", status, err)
	}
	told := must[api.ActivationStatus](p, 200, "GET", status.String(), root, nil)
	if !told.Active || told.VersionID != first.ID || told.Outbox == nil || told.Outbox.ID != body["outbox_id"] {
		t.Errorf("the status is %+v", told)
	}
	now := p.active(zone)
	if now.Sequence != 1 || *now.PolicySetVersionID != first.ID || *now.PolicySetID != first.PolicySetID || *now.ManifestSHA256 != first.ManifestSHA256 ||
		*now.BundleSHA256 != first.BundleSHA256 || now.Reason != "the beginning" || now.ActivatedBy != "bootstrap" {
		t.Errorf("then governs %+v", now)
	}

	// Another set's version takes over, the same is activated again, and rolling
	// back is activating the older one: each is a move of its own.
	other := p.set(zone, "other")
	second := p.version(other, p.policy(zone, "closed", denyAll).VersionID)
	p.activateVersion(other, second.ID)
	again := p.activateVersion(other, second.ID)
	back := p.activateVersion(set, first.ID)
	if again.Sequence != 3 || back.Sequence != 4 {
		t.Errorf("the sequences are %d and %d", again.Sequence, back.Sequence)
	}
	if got := must[api.PolicySet](p, 200, "GET", other, root, nil); got.ActiveVersionID != nil {
		t.Errorf("the set that governs no more reads as %+v", got)
	}
	history := must[api.Page[api.Activation]](p, 200, "GET", "/v1/zones/"+zone+"/activations", root, nil)
	type move struct {
		sequence int64
		version  string
		before   string
	}
	var got []move
	for _, a := range history.Items {
		m := move{sequence: a.Sequence}
		if a.VersionID != nil {
			m.version = *a.VersionID
			if a.ManifestSHA256 == nil || a.BundleSHA256 == nil || a.PolicySetID == nil {
				t.Errorf("the history has %+v", a)
			}
		}
		if a.PreviousVersionID != nil {
			m.before = *a.PreviousVersionID
		}
		got = append(got, m)
	}
	want := []move{{4, first.ID, second.ID}, {3, second.ID, second.ID}, {2, second.ID, first.ID}, {1, first.ID, ""}, {0, "", ""}}
	if !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
	if last := history.Items[3]; last.Reason != "the beginning" || last.ActorID != "bootstrap" || last.ActorName != "bootstrap" || last.ID != body["outbox_id"] {
		t.Errorf("the first activation is %+v", last)
	}

	// What daemons are sent is what was activated last.
	a := p.call("POST", watchPath, root, watching(t, 0, map[string]int64{zone: 3}))
	if pointers := p.pointers(a); len(pointers) != 1 || pointers[0].Sequence != 4 || *pointers[0].PolicySetVersionID != first.ID || pointers[0].BundleSize != first.BundleSize {
		t.Errorf("watchers are sent %+v", pointers)
	}
}

func TestActivateComparesAndSets(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, first := p.governed("one", readersOnly)
	second := p.version(set, p.policy(zone, "closed", denyAll).VersionID)
	null := json.RawMessage("null")
	expecting := func(v string) json.RawMessage { return json.RawMessage(`"` + v + `"`) }
	for _, tt := range []struct {
		name     string
		version  string
		expected json.RawMessage
		status   int
	}{
		{"another version while nothing is active", first.ID, expecting(second.ID), 409},
		{"nothing, as it is", first.ID, null, 202},
		{"nothing any more", second.ID, null, 409},
		{"the wrong version", second.ID, expecting(second.ID), 409},
		{"an unknown version", second.ID, expecting(newID()), 409},
		{"the right version", second.ID, expecting(first.ID), 202},
		{"no expectation", first.ID, nil, 202},
		{"the same version", first.ID, expecting(first.ID), 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			before := p.active(zone)
			a := p.call("POST", set+"/activate", root, api.ActivateRequest{VersionID: tt.version, ExpectedActiveVersionID: tt.expected})
			now := p.active(zone)
			if tt.status == 409 {
				p.refused(a, 409, "active_version_changed")
				if now.Sequence != before.Sequence {
					t.Errorf("a refused activation moved the pointer from %d to %d", before.Sequence, now.Sequence)
				}
				return
			}
			if a.status != 202 || now.Sequence != before.Sequence+1 || *now.PolicySetVersionID != tt.version {
				t.Errorf("answered %d %s; then governs %+v", a.status, a.body, now)
			}
		})
	}
}

func TestActivateRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	_, foreignSet, foreign := p.governed("two", readersOnly)
	other := p.set(zone, "other")
	open := p.version(set, p.policy(zone, "open", allowByDefault).VersionID)
	for _, tt := range []struct {
		name, path string
		req        any
		status     int
		code       string
	}{
		{"an unknown version", set, api.ActivateRequest{VersionID: newID()}, 404, "policy_set_version_not_found"},
		{"another set's version", other, api.ActivateRequest{VersionID: v.ID}, 404, "policy_set_version_not_found"},
		{"another zone's version", set, api.ActivateRequest{VersionID: foreign.ID}, 404, "policy_set_version_not_found"},
		{"another zone's set", strings.Replace(foreignSet, strings.Split(foreignSet, "/")[3], zone, 1), api.ActivateRequest{VersionID: foreign.ID}, 404, "policy_set_version_not_found"},
		{"no id", set, api.ActivateRequest{VersionID: "a b"}, 400, "invalid_body"},
		{"an expectation that is no id", set, api.ActivateRequest{VersionID: v.ID, ExpectedActiveVersionID: json.RawMessage(`"a b"`)}, 400, "invalid_body"},
		{"an expectation of another type", set, api.ActivateRequest{VersionID: v.ID, ExpectedActiveVersionID: json.RawMessage(`7`)}, 400, "invalid_body"},
		{"a long reason", set, api.ActivateRequest{VersionID: v.ID, Reason: strings.Repeat("r", 2001)}, 400, "invalid_body"},
		{"a blocking warning", set, api.ActivateRequest{VersionID: open.ID}, 422, "activation_blocked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			e := p.refused(p.call("POST", tt.path+"/activate", root, tt.req), tt.status, tt.code)
			if tt.code == "activation_blocked" && (len(e.Errors) != 1 || e.Errors[0].Policy != "open" || !strings.Contains(e.Errors[0].Message, "default_result_allows_access")) {
				t.Errorf("blocked by %+v", e.Errors)
			}
		})
	}
	if now := p.active(zone); now.Sequence != 0 {
		t.Errorf("refused activations left %+v", now)
	}
}

// Of many activations at once, each is either done, with a sequence of its own,
// or told that another came first; and the last of them governs.
func TestConcurrentActivations(t *testing.T) {
	for _, expecting := range []bool{false, true} {
		name := "unconditional"
		if expecting {
			name = "compare and set"
		}
		t.Run(name, func(t *testing.T) {
			p := newPlane(t, nil)
			zone, set, first := p.governed("one", readersOnly)
			versions := []string{first.ID}
			for _, policy := range []string{"b", "c", "d"} {
				versions = append(versions, p.version(set, p.policy(zone, policy, denyAll).VersionID).ID)
			}
			const goroutines, rounds = 8, 6
			var mu sync.Mutex
			done := map[int64]string{}
			lost := 0
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := range rounds {
						req := api.ActivateRequest{VersionID: versions[(g+i)%len(versions)]}
						if expecting {
							a, err := p.try(t.Context(), "GET", "/v1/zones/"+zone+"/active", root, nil)
							var now api.Active
							if err != nil || json.Unmarshal(a.body, &now) != nil {
								t.Errorf("%v: %s", err, a.body)
								return
							}
							req.ExpectedActiveVersionID, _ = json.Marshal(now.PolicySetVersionID)
						}
						a, err := p.try(t.Context(), "POST", set+"/activate", root, req)
						if err != nil {
							t.Error(err)
							return
						}
						var body api.Activated
						mu.Lock()
						switch {
						case a.status == http.StatusAccepted && json.Unmarshal(a.body, &body) == nil:
							if other, twice := done[body.Sequence]; twice {
								t.Errorf("sequence %d was given to %s and %s", body.Sequence, other, body.VersionID)
							}
							done[body.Sequence] = body.VersionID
						case a.status == http.StatusConflict && expecting:
							lost++
						default:
							t.Errorf("answered %d %s", a.status, a.body)
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if len(done)+lost != goroutines*rounds {
				t.Errorf("%d were done and %d lost, of %d", len(done), lost, goroutines*rounds)
			}
			now := p.active(zone)
			if now.Sequence != int64(len(done)) || *now.PolicySetVersionID != done[now.Sequence] {
				t.Errorf("%d were done; governs %+v", len(done), now)
			}
			history := must[api.Page[api.Activation]](p, 200, "GET", "/v1/zones/"+zone+"/activations?limit=500", root, nil)
			for i, a := range history.Items {
				if a.Sequence != now.Sequence-int64(i) {
					t.Fatalf("at %d the history has sequence %d", i, a.Sequence)
				}
				if a.Sequence == 0 {
					break
				}
				if *a.VersionID != done[a.Sequence] {
					t.Errorf("sequence %d is %s in the history, was answered for %s", a.Sequence, *a.VersionID, done[a.Sequence])
				}
				if before := history.Items[i+1].VersionID; (before == nil) != (a.PreviousVersionID == nil) || before != nil && *before != *a.PreviousVersionID {
					t.Errorf("sequence %d follows %v, not %v", a.Sequence, a.PreviousVersionID, before)
				}
			}
			a := p.call("POST", watchPath, root, bundle.WatchRequest{Zones: bundle.AllZones()})
			if pointers := p.pointers(a); len(pointers) != 1 || pointers[0].Sequence != now.Sequence || *pointers[0].PolicySetVersionID != *now.PolicySetVersionID {
				t.Errorf("watchers are sent %+v", pointers)
			}
		})
	}
}
