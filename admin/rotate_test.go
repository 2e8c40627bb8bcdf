package admin_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
)

// followed is the trust of a daemon that is pinned to the first root and has
// fetched the rotations.
func (p *plane) followed() *bundle.Trust {
	p.t.Helper()
	answer := must[bundle.TrustResponse](p, 200, "GET", "/v1/trust", root, nil)
	trust, err := bundle.LoadTrust(p.keys.Roots[0])
	if err != nil {
		p.t.Fatal(err)
	}
	if trust, err = trust.UpdateAll(answer.Roots); err != nil {
		p.t.Fatal(err)
	}
	return trust
}

// offered is the pointer that a watch answers, as it was signed.
func (p *plane) offered(zone string, held bundle.Held) bundle.SignedPointer {
	p.t.Helper()
	zones, err := bundle.SomeZones(map[string]int64{zone: held.Sequence})
	if err != nil {
		p.t.Fatal(err)
	}
	req := bundle.WatchRequest{Zones: zones, Have: map[string]bundle.Held{zone: held}, WaitSeconds: 10}
	got := must[bundle.WatchResponse](p, 200, "POST", "/v1/pointers/watch", root, req)
	if len(got.Pointers) != 1 {
		p.t.Fatalf("offered is %+v", got)
	}
	return got.Pointers[0]
}

func TestRotateKeys(t *testing.T) {
	p := newPlane(t, nil).run()
	zone, set, first := p.governed("one", readersOnly)
	p.activateVersion(set, first.ID)
	rotate := func(r admin.Rotation) admin.Rotated {
		t.Helper()
		r.PointerTTL, r.Reason, r.Operator = time.Hour, "because", "operator ada"
		done, err := admin.RotateKeys(t.Context(), p.store, r)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	before := p.followed()
	had := p.offered(zone, bundle.Held{})
	old, _, err := before.VerifySignedPointer(had, time.Now())
	if err != nil || old.Sequence != 1 || before.Version() != 1 {
		t.Fatalf("before: %+v of root %d, %v", old, before.Version(), err)
	}

	// The pointers key: what is out is signed anew, and waiting daemons are told.
	done := rotate(admin.Rotation{Pointers: true})
	if done.Version != 2 || done.Pointers != 1 || len(done.BundlesKeys) != 1 || time.Until(done.Expires) < 9*365*24*time.Hour {
		t.Errorf("rotated %+v", done)
	}
	now := p.offered(zone, bundle.Held{Sequence: old.Sequence, IssuedAt: old.IssuedAt})
	if _, _, err := before.VerifySignedPointer(now, time.Now()); !errors.Is(err, bundle.ErrSignature) {
		t.Errorf("by the root before, the new pointer is %v", err) // so that a daemon looks for a newer root
	}
	trust := p.followed()
	renewed, _, err := trust.VerifySignedPointer(now, time.Now())
	if err != nil || trust.Version() != 2 || renewed.Sequence != 1 || *renewed.PolicySetVersionID != first.ID {
		t.Errorf("by root %d it is %+v, %v", trust.Version(), renewed, err)
	}
	if _, _, err := trust.VerifySignedPointer(had, time.Now()); !errors.Is(err, bundle.ErrSignature) {
		t.Errorf("the old key's pointer is %v", err)
	}

	// The running control plane signs with it at once, and with new bundles keys; bundles of the old one count.
	rotate(admin.Rotation{Bundles: true})
	done = rotate(admin.Rotation{Bundles: true, Root: true, Pointers: true})
	if done.Version != 4 || len(done.BundlesKeys) != 3 {
		t.Errorf("rotated %+v", done)
	}
	second := p.version(set, p.policy(zone, "closed", denyAll).VersionID)
	for _, v := range []string{second.ID, first.ID} {
		a := p.activateVersion(set, v)
		ptr, _, err := p.followed().VerifySignedPointer(p.offered(zone, bundle.Held{Sequence: a.Sequence - 1}), time.Now())
		if err != nil || *ptr.PolicySetVersionID != v {
			t.Errorf("activated after the rotations is %+v, %v", ptr, err)
		}
	}
	// Whoever signed it was the newest key.
	root4 := p.followed().Root()
	if root4.Bundles.Keys[0].KeyID() != done.BundlesKeys[0] || root4.Root.Keys[0].KeyID() != done.RootKey {
		t.Errorf("root 4 is %+v, rotated %+v", root4, done)
	}

	// Forgotten bundles keys: what they signed can be activated no more, new versions can.
	rotate(admin.Rotation{Bundles: true, Forget: true})
	p.refused(p.call("POST", set+"/activate", root, api.ActivateRequest{VersionID: first.ID}), 422, "invalid_policy_bundle")
	third := p.version(set, p.policy(zone, "again", readersOnly).VersionID)
	a := p.activateVersion(set, third.ID)
	if _, _, err := p.followed().VerifySignedPointer(p.offered(zone, bundle.Held{Sequence: a.Sequence - 1}), time.Now()); err != nil {
		t.Error(err)
	}

	var payload map[string]any
	entry := must[api.Page[api.AdminEvent]](p, 200, "GET", "/v1/admin-audit?action=key.rotate", root, nil).Items
	if len(entry) != 4 || entry[0].ActorName != "operator ada" || entry[0].EntityID != "5" || json.Unmarshal([]byte(entry[0].PayloadJSON), &payload) != nil || payload["forgotten"] != true {
		t.Errorf("audited is %+v", entry)
	}
	// A control plane that starts now has them too.
	if keys, err := admin.LoadOrCreateKeys(t.Context(), p.store, time.Now()); err != nil || len(keys.Roots) != 5 {
		t.Errorf("the store has %d roots: %v", len(keys.Roots), err)
	}
}

func TestRotateKeysRefusals(t *testing.T) {
	empty, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := empty.Close(); err != nil {
			t.Error(err)
		}
	}()
	all := admin.Rotation{Pointers: true, Bundles: true, Root: true, PointerTTL: time.Hour}
	if _, err := admin.RotateKeys(t.Context(), empty, all); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a store without keys: %v", err)
	}
	if _, err := admin.RotateKeys(t.Context(), empty, admin.Rotation{}); err == nil {
		t.Error("no key at all is rotated")
	}
	if _, err := admin.RotateKeys(t.Context(), empty, admin.Rotation{Forget: true, Root: true}); err == nil {
		t.Error("bundles keys are forgotten for none")
	}
	// The control plane has keys in files, and the store others.
	foreign := newPlane(t, nil).keys
	keys := admin.Keys{Bundles: foreign.Bundles, Pointers: foreign.Pointers, Roots: foreign.Roots}
	p := newPlane(t, func(c *admin.Config) { c.Keys = keys })
	p.zone("one")
	if _, err := admin.RotateKeys(t.Context(), p.store, all); !errors.Is(err, admin.ErrForeignKeys) {
		t.Errorf("other keys: %v", err)
	}
	if kept, err := admin.LoadKeys(t.Context(), p.store); err != nil || len(kept.Roots) != 1 {
		t.Errorf("afterwards the store has %d roots: %v", len(kept.Roots), err)
	}
	if answer := must[bundle.TrustResponse](p, 200, "GET", "/v1/trust", root, nil); len(answer.Roots) != 1 {
		t.Errorf("the roots are %d", len(answer.Roots))
	}
}
