package admin_test

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// What follows puts things into the store directly: the calls that make them
// have their own tests.

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// now is the plane's time as the store keeps it.
func (p *plane) now() time.Time {
	return time.Now().Add(time.Duration(p.ahead.Load())).UTC().Truncate(time.Microsecond)
}

func (p *plane) update(f func(tx store.Tx) error) {
	p.t.Helper()
	if err := p.store.Update(p.t.Context(), f); err != nil {
		p.t.Fatal(err)
	}
}

// token makes a token and gives its secret; zone "" reaches all.
func (p *plane) token(zone string, roles ...string) string {
	p.t.Helper()
	secret := newID()
	hash := sha256.Sum256([]byte(secret))
	token := store.Token{ID: newID(), Name: fmt.Sprint(roles), Hash: hash[:], Roles: roles, CreatedAt: p.now()}
	if zone != "" {
		token.ZoneID = &zone
	}
	p.update(func(tx store.Tx) error { return tx.InsertToken(p.t.Context(), token) })
	return secret
}

// published is a version of a policy set.
type published struct {
	zone, set, version, sha256, manifest string
	size                                 int64
}

// activated is an activation of one.
type activated struct {
	OutboxID string
	Sequence int64
}

// emptySet makes a policy set without versions.
func (p *plane) emptySet(zone, name string) string {
	p.t.Helper()
	id := newID()
	p.update(func(tx store.Tx) error {
		return tx.InsertPolicySet(p.t.Context(), store.PolicySet{ID: id, ZoneID: zone, Name: name, CreatedAt: p.now()})
	})
	return id
}

// publish makes a policy, a set and a version of it in a zone.
func (p *plane) publish(zone, name string) published {
	p.t.Helper()
	content := fmt.Sprintf("package caracal.authz\n\n# %s\ndefault result := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []}\n", name)
	set, policyID, versionID, setVersionID := p.emptySet(zone, name), newID(), newID(), newID()
	hash := bundle.SHA256Hex([]byte(content))
	packed, err := bundle.Pack(&bundle.Manifest{
		ZoneID: zone, PolicySetID: set, Version: 1, SchemaVersion: "2026-05-20",
		Policies: []bundle.ManifestPolicy{{PolicyID: policyID, PolicyVersionID: versionID, Name: name, ContentSHA256: hash}},
	}, []bundle.Module{{PolicyVersionID: versionID, Content: []byte(content)}})
	if err != nil {
		p.t.Fatal(err)
	}
	envelope, err := bundle.SignStatement(packed.Statement, p.keys.Bundles)
	if err != nil {
		p.t.Fatal(err)
	}
	size := int64(len(packed.Data))
	p.update(func(tx store.Tx) error {
		ctx := p.t.Context()
		err := tx.InsertPolicy(ctx, store.Policy{ID: policyID, ZoneID: zone, Name: name, CreatedAt: p.now()}, store.PolicyVersion{
			ID: versionID, PolicyID: policyID, ZoneID: zone, Version: 1, Content: content, ContentSHA256: hash, SchemaVersion: "2026-05-20", CreatedAt: p.now(),
		})
		if err != nil {
			return err
		}
		return tx.InsertSetVersion(ctx, store.SetVersion{
			ID: setVersionID, PolicySetID: set, ZoneID: zone, Version: 1, Manifest: packed.Manifest,
			ManifestSHA256: packed.ManifestSHA256, BundleSHA256: packed.BundleSHA256, BundleSize: size, SchemaVersion: "2026-05-20", CreatedAt: p.now(),
		}, []string{versionID}, store.Bundle{SHA256: packed.BundleSHA256, Data: packed.Data, Envelope: envelope})
	})
	return published{zone, set, setVersionID, packed.BundleSHA256, packed.ManifestSHA256, size}
}

// activate moves the zone's pointer to the version.
func (p *plane) activate(v published) activated {
	p.t.Helper()
	a := store.Activation{
		ID: newID(), ZoneID: v.zone, PolicySetID: &v.set, VersionID: &v.version, ManifestSHA256: v.manifest, BundleSHA256: v.sha256, CreatedAt: p.now(),
	}
	p.update(func(tx store.Tx) error {
		ctx := p.t.Context()
		before, err := tx.Pointer(ctx, v.zone)
		if err != nil {
			return err
		}
		next := store.Pointer{
			ZoneID: v.zone, Sequence: before.Sequence + 1, PolicySetID: &v.set, VersionID: &v.version, ManifestSHA256: v.manifest,
			BundleSHA256: v.sha256, BundleSize: v.size, IssuedAt: p.now(), ExpiresAt: p.now().Add(time.Hour), Since: p.now(),
		}
		next.Envelope, err = bundle.SignPointer(bundle.Pointer{
			ZoneID: next.ZoneID, Sequence: next.Sequence, PolicySetID: next.PolicySetID, PolicySetVersionID: next.VersionID,
			ManifestSHA256: next.ManifestSHA256, BundleSHA256: next.BundleSHA256, BundleSize: next.BundleSize,
			IssuedAt: next.IssuedAt, ExpiresAt: next.ExpiresAt,
		}, p.keys.Pointers)
		if err != nil {
			return err
		}
		a.Sequence, a.PreviousVersionID = next.Sequence, before.VersionID
		return tx.MovePointer(ctx, next, a)
	})
	return activated{a.ID, a.Sequence}
}
