package admin_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// reports stores what a daemon says that it serves.
func (p *plane) reports(daemon, zone, state string, sequence, serving int64, version *string) {
	p.t.Helper()
	r := bundle.Receipt{ZoneID: zone, State: state, Sequence: sequence, ServingSequence: serving, ServingVersionID: version}
	if state == bundle.ReceiptLoaded {
		r.PolicySetVersionID = version
	}
	p.report(bundle.ReceiptReport{DaemonID: daemon, Zones: []bundle.Receipt{r}})
}

func TestRaiseSequences(t *testing.T) {
	p := newPlane(t, nil)
	ctx := t.Context()
	behind, set, v := p.governed("behind", readersOnly)
	p.activateVersion(set, v.ID) // at sequence 1
	alike, quiet, version := p.zone("alike"), p.zone("quiet"), v.ID
	raise := func(r admin.Raise) ([]admin.Raised, error) {
		r.Keys, r.PointerTTL, r.Reason, r.Operator = p.keys, time.Hour, "after a restore", "operator ada"
		return admin.RaiseSequences(ctx, p.store, r)
	}
	of := func(list []admin.Raised, zone string) admin.Raised {
		t.Helper()
		for _, r := range list {
			if r.ZoneID == zone {
				return r
			}
		}
		t.Fatalf("zone %s is not in %+v", zone, list)
		return admin.Raised{}
	}
	p.reports("ahead", behind, bundle.ReceiptLoaded, 9, 9, nil)
	p.reports("late", behind, bundle.ReceiptLoaded, 1, 1, &version)
	p.reports("equal", alike, bundle.ReceiptLoaded, 0, 0, nil)
	p.reports("lied-to", quiet, bundle.ReceiptFailed, math.MaxInt64, 0, nil) // a refused pointer's own claim
	planned, err := raise(admin.Raise{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := of(planned, behind); got.Before != 1 || got.After != 1010 || got.Reported != 9 || got.DaemonID != "ahead" {
		t.Errorf("planned %+v", got)
	}
	if p.active(behind).Sequence != 1 {
		t.Error("a dry run moves")
	}
	done, err := raise(admin.Raise{})
	if err != nil || len(done) != 3 || of(done, behind) != of(planned, behind) {
		t.Fatalf("raised %+v after planning %+v: %v", done, planned, err)
	}
	for _, zone := range []string{alike, quiet} {
		if got := of(done, zone); got.Before != 0 || got.After != 0 || p.active(zone).Sequence != 0 {
			t.Errorf("a zone without need: %+v", got)
		}
	}
	now := p.active(behind)
	if now.Sequence != 1010 || now.PolicySetVersionID == nil || *now.PolicySetVersionID != version || now.Reason != "after a restore" || now.ActivatedBy != "operator ada" {
		t.Errorf("active is %+v", now)
	}
	offered := p.pointers(p.call("POST", "/v1/pointers/watch", root, watching(t, 10, map[string]int64{behind: 9})))
	if len(offered) != 1 || offered[0].Sequence != 1010 || offered[0].PolicySetVersionID == nil || *offered[0].PolicySetVersionID != version {
		t.Errorf("daemons are offered %+v", offered)
	}
	history := must[api.Page[api.Activation]](p, 200, "GET", "/v1/zones/"+behind+"/activations", root, nil).Items
	if a := history[0]; a.Sequence != 1010 || a.Reason != "after a restore" || a.ActorID != "operator" || a.PreviousVersionID == nil || *a.PreviousVersionID != version {
		t.Errorf("the history has %+v", a)
	}
	audited := p.adminAudit("/v1/zones/"+behind+"/admin-audit", root)
	var payload map[string]any
	if e := audited[0]; e.Action != "zone.raise_sequence" || e.ActorName != "operator ada" || json.Unmarshal([]byte(e.PayloadJSON), &payload) != nil ||
		payload["previous_sequence"] != 1.0 || payload["sequence"] != 1010.0 || payload["reported_by"] != "ahead" {
		t.Errorf("audited is %+v", audited[0])
	}
	if again, err := raise(admin.Raise{}); err != nil || of(again, behind).After != 1010 {
		t.Errorf("once more: %+v, %v", again, err)
	}

	// The same sequence with another version is refused by the daemon that has it.
	other := "another-version"
	p.reports("twin", behind, bundle.ReceiptLoaded, 1010, 1010, &other)
	p.reports("atwin", behind, bundle.ReceiptLoaded, 1010, 1010, &version)
	if twins, err := raise(admin.Raise{Zone: behind}); err != nil || len(twins) != 1 || twins[0].After != 2011 || twins[0].DaemonID != "twin" {
		t.Errorf("another version at the same sequence: %+v, %v", twins, err)
	}

	above := func(n int64) *int64 { return &n }
	if exact, err := raise(admin.Raise{Zone: behind, Above: above(3000)}); err != nil || exact[0].After != 3001 {
		t.Errorf("above 3000: %+v, %v", exact, err)
	}
	if low, err := raise(admin.Raise{Zone: behind, Above: above(5)}); err != nil || low[0].After != 3001 || p.active(behind).Sequence != 3001 {
		t.Errorf("above 5: %+v, %v", low, err)
	}
	if _, err := raise(admin.Raise{Above: above(103_001)}); !errors.Is(err, admin.ErrFar) {
		t.Errorf("far: %v", err)
	}
	if p.active(quiet).Sequence != 0 {
		t.Error("one zone is raised though another cannot be")
	}
	for _, n := range []int64{store.MaxSequence, math.MaxInt64} {
		if list, err := raise(admin.Raise{Zone: behind, Above: above(n), Far: true}); err == nil {
			t.Errorf("above %d: %+v", n, list)
		}
	}
	p.reports("liar", alike, bundle.ReceiptLoaded, math.MaxInt64, math.MaxInt64, nil)
	if list, err := raise(admin.Raise{Zone: alike, Far: true}); err == nil {
		t.Errorf("a daemon that makes numbers up: %+v", list)
	}
	if top, err := raise(admin.Raise{Zone: behind, Above: above(store.MaxSequence - 1), Far: true}); err != nil || top[0].After != store.MaxSequence {
		t.Errorf("the highest: %+v, %v", top, err)
	}
	if _, err := raise(admin.Raise{Zone: "nowhere"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a zone that is not there: %v", err)
	}

	// An archived zone's deny is to arrive too.
	must[struct{}](p, 204, "DELETE", "/v1/zones/"+quiet, root, nil)
	if gone, err := raise(admin.Raise{Zone: quiet, Above: above(50)}); err != nil || gone[0].After != 51 {
		t.Errorf("an archived zone: %+v, %v", gone, err)
	}
	// Keys of another control plane sign nothing here.
	foreign := newPlane(t, nil).keys
	_, err = admin.RaiseSequences(ctx, p.store, admin.Raise{Keys: foreign, PointerTTL: time.Hour, Zone: quiet, Above: above(90)})
	if !errors.Is(err, admin.ErrForeignKeys) {
		t.Errorf("with other keys: %v", err)
	}
	if wrong, err := p.store.Check(ctx); err != nil || len(wrong) > 0 {
		t.Errorf("the store is wrong: %q, %v", wrong, err)
	}
}
