package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// Of many who expect the same version to be active, one moves the pointer, and
// the others are told; round after round, beginning with nothing active.
func TestCompareAndSetHasOneWinner(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, first := p.governed("one", readersOnly)
	versions := []string{first.ID, p.version(set, p.policy(zone, "closed", denyAll).VersionID).ID}
	const goroutines, rounds = 8, 10
	for round := range rounds {
		before := p.active(zone)
		expected, err := json.Marshal(before.PolicySetVersionID)
		if err != nil {
			t.Fatal(err)
		}
		// The version that is active must change for the losers to see it.
		req := api.ActivateRequest{VersionID: versions[round%2], ExpectedActiveVersionID: expected}
		var wg sync.WaitGroup
		answers, errs := make([]answer, goroutines), make([]error, goroutines)
		for i := range goroutines {
			wg.Go(func() { answers[i], errs[i] = p.try(t.Context(), "POST", set+"/activate", root, req) })
		}
		wg.Wait()
		won := 0
		for i, a := range answers {
			switch {
			case errs[i] != nil:
				t.Fatal(errs[i])
			case a.status == http.StatusAccepted:
				won++
			default:
				p.refused(a, 409, "active_version_changed")
			}
		}
		if now := p.active(zone); won != 1 || now.Sequence != before.Sequence+1 || *now.PolicySetVersionID != req.VersionID {
			t.Fatalf("round %d had %d winners; governs %+v", round, won, now)
		}
	}
}

// Whoever writes into a zone or a set while it is deleted is either done before
// or finds nothing; it is never the control plane's failure.
func TestWritesWhileTheirParentIsDeleted(t *testing.T) {
	p := newPlane(t, nil)
	for round := range 6 {
		zone, set, v := p.governed(fmt.Sprint("zone ", round), readersOnly)
		in := "/v1/zones/" + zone
		pol := p.policy(zone, "second", denyAll)
		p.activateVersion(set, v.ID)
		parent := in
		if round%2 == 1 {
			parent = set
		}
		calls := []struct {
			method, path string
			body         any
		}{
			{"DELETE", parent, nil},
			{"POST", in + "/policies", api.PolicyCreate{Name: "new", Content: denyAll}},
			{"POST", in + "/policies/" + pol.ID + "/versions", api.PolicyVersionCreate{Content: denyAll}},
			{"POST", in + "/policy-sets", api.PolicySetCreate{Name: "new"}},
			{"POST", set + "/versions", manifest(pol.VersionID)},
			{"POST", set + "/activate", api.ActivateRequest{VersionID: v.ID}},
			{"PATCH", in, api.ZoneUpdate{Settings: &api.ZoneSettings{RetentionDays: round + 1}}},
			{"DELETE", in + "/policies/" + pol.ID, nil},
			{"GET", in + "/active", nil},
			{"POST", set + "/simulate", api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, "read")}},
		}
		var wg sync.WaitGroup
		answers, errs := make([]answer, len(calls)), make([]error, len(calls))
		for i, c := range calls {
			wg.Go(func() { answers[i], errs[i] = p.try(t.Context(), c.method, c.path, root, c.body) })
		}
		wg.Wait()
		for i, a := range answers {
			allowed := []int{200, 201, 202, 204, 404, 422} // 422: a policy of the manifest was deleted
			if errs[i] != nil || !slices.Contains(allowed, a.status) {
				t.Errorf("%s %s: %v, %d %s", calls[i].method, calls[i].path, errs[i], a.status, a.body)
			}
		}
		if answers[0].status != 204 {
			t.Errorf("deleting %s: %d %s", parent, answers[0].status, answers[0].body)
		}
		if parent == set { // an activation came before the deletion, or not at all
			if now := p.active(zone); now.PolicySetVersionID != nil {
				t.Errorf("a deleted set governs: %+v", now)
			}
		}
	}
	if wrong, err := p.store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store's check says %v, %v", wrong, err)
	}
}
