// Package storetest is what every backend of the store must do, as tests
// through its public interface. A backend's own tests call Run and RunShared,
// and add what only they can know, such as what its database refuses to
// whoever bypasses the code.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
)

// Run tests a backend. open gives a new, empty store and closes it, and removes
// what it kept, when the test ends. Several tests run at once.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, part := range []struct {
		name string
		test func(*fixture)
	}{
		{"Transactions/RollBack", rollBack},
		{"Transactions/Refused", refusedWrites},
		{"Transactions/Canceled", canceled},
		{"Transactions/Snapshot", snapshot},
		{"Transactions/OwnWrites", ownWrites},
		{"Zones", zones},
		{"Policies", policies},
		{"Policies/Concurrent", concurrentVersions},
		{"PolicySets", policySets},
		{"SetVersions", setVersions},
		{"Bundles", bundles},
		{"Pointers", pointers},
		{"Pointers/Concurrent", concurrentMoves},
		{"Pointers/Resigned", resigned},
		{"Pointers/Raised", raised},
		{"Pointers/Changes", changes},
		{"Outbox", outbox},
		{"Tokens", tokens},
		{"Daemons", daemons},
		{"Daemons/States", daemonStates},
		{"Daemons/Pages", daemonPages},
		{"Daemons/Seen", daemonsSeen},
		{"Daemons/Retired", daemonsRetired},
		{"Daemons/Rollout", rollout},
		{"Idempotent", idempotent},
		{"Secrets", secrets},
		{"Leases", leases},
		{"Spent", spent},
		{"AdminEvents", adminEvents},
		{"AdminEvents/Concurrent", concurrentAdminEvents},
		{"Lists/Scoped", scopedLists},
		{"Lists/Everywhere", wholeLists},
		{"Events/RoundTrip", eventRoundTrip},
		{"Events/Idempotent", eventIdempotency},
		{"Events/Chain", eventChain},
		{"Events/Hole", eventHole},
		{"Events/Resent", eventsResent},
		{"Events/Canceled", eventsCanceled},
		{"Events/Together", eventsTogether},
		{"Events/Query", eventQueries},
		{"Events/Count", eventCounts},
		{"Events/Lists", eventLists},
		{"Events/SamePlace", eventsOfOnePlace},
		{"Events/Tail", eventTail},
		{"Events/TrimByAge", trimByAge},
		{"Events/TrimBySize", trimBySize},
		{"Events/Added", added},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, open(t))
			part.test(f)
			f.clean()
		})
	}
}

// start is the time tests begin at; nothing depends on the clock.
var start = time.Date(2026, 5, 20, 12, 0, 0, 123456000, time.UTC)

// after is a time n microseconds later: the finest that stores keep.
func after(n int) time.Time { return start.Add(time.Duration(n) * time.Microsecond) }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fixture is a store under test, with shorthands that fail the test.
type fixture struct {
	*testing.T
	store.Store
	ctx context.Context
}

func newFixture(t *testing.T, s store.Store) *fixture { return &fixture{t, s, t.Context()} }

// clean fails the test when the store finds anything wrong with itself.
func (f *fixture) clean() {
	f.Helper()
	wrong, err := f.Check(f.ctx)
	f.ok(err)
	if len(wrong) != 0 {
		f.Fatalf("the store finds itself wrong: %q", wrong)
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// is fails the test unless the error is the wanted one.
func (f *fixture) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("got error %v, want %v", err, want)
	}
}

// same fails the test unless both are deeply equal.
func (f *fixture) same(got, want any) {
	f.Helper()
	if !reflect.DeepEqual(got, want) {
		f.Fatalf("got\n\t%+v\nwant\n\t%+v", got, want)
	}
}

func (f *fixture) update(do func(tx store.Tx) error) {
	f.Helper()
	f.ok(f.Update(f.ctx, do))
}

// refused runs an Update that must fail.
func (f *fixture) refused(want error, do func(tx store.Tx) error) {
	f.Helper()
	f.is(f.Update(f.ctx, do), want)
}

func (f *fixture) view(do func(r store.Reader) error) {
	f.Helper()
	f.ok(f.View(f.ctx, do))
}

// read gives what one call of the Reader gives.
func read[V any](f *fixture, call func(r store.Reader) (V, error)) V {
	f.Helper()
	v, err := tryRead(f, call)
	f.ok(err)
	return v
}

func tryRead[V any](f *fixture, call func(r store.Reader) (V, error)) (v V, err error) {
	err = f.View(f.ctx, func(r store.Reader) (err error) {
		v, err = call(r)
		return err
	})
	return v, err
}

// missing fails the test unless a call of the Reader finds nothing.
func missing[V any](f *fixture, call func(r store.Reader) (V, error)) {
	f.Helper()
	_, err := tryRead(f, call)
	f.is(err, store.ErrNotFound)
}

// arrives waits until a signal has a value.
func (f *fixture) arrives(c <-chan struct{}) {
	f.Helper()
	select {
	case _, ok := <-c:
		if !ok {
			f.Fatal("the signal is closed")
		}
	case <-time.After(30 * time.Second):
		f.Fatal("no signal came")
	}
}

// drain takes what a signal holds.
func drain(c <-chan struct{}) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

// zone makes a zone.
func (f *fixture) zone(name string) store.Zone {
	f.Helper()
	z := store.Zone{ID: newID(), Name: name, Slug: name, Settings: json.RawMessage(`{"audit_mask":[]}`), CreatedAt: start, UpdatedAt: start}
	f.update(func(tx store.Tx) error { return tx.InsertZone(f.ctx, z) })
	return z
}

// policy makes a policy with its first version.
func (f *fixture) policy(zone, name string) store.Policy {
	f.Helper()
	p := store.Policy{ID: newID(), ZoneID: zone, Name: name, Description: "about " + name, CreatedAt: start, CreatedBy: "someone"}
	p.Latest = version(p, "package caracal.authz # "+name)
	p.Latest.Version = 1
	f.update(func(tx store.Tx) error { return tx.InsertPolicy(f.ctx, p, p.Latest) })
	return p
}

// version is a version of a policy that is not stored yet.
func version(p store.Policy, content string) store.PolicyVersion {
	return store.PolicyVersion{
		ID: newID(), PolicyID: p.ID, ZoneID: p.ZoneID, Content: content, ContentSHA256: hashOf([]byte(content)), SchemaVersion: "2026-05-20",
		Tests: content + "_test", Warnings: json.RawMessage(`[{"code":"one"}]`), CreatedAt: start, CreatedBy: "someone",
	}
}

// set makes a policy set.
func (f *fixture) set(zone, name string) store.PolicySet {
	f.Helper()
	s := store.PolicySet{ID: newID(), ZoneID: zone, Name: name, Description: "about " + name, CreatedAt: start, CreatedBy: "someone"}
	f.update(func(tx store.Tx) error { return tx.InsertPolicySet(f.ctx, s) })
	return s
}

// draft is a version of a set of the given policy versions, with its bundle, that is not stored yet.
func draft(s store.PolicySet, number int, members ...store.PolicyVersion) (store.SetVersion, []string, store.Bundle) {
	type member struct {
		PolicyVersionID string `json:"policy_version_id"`
		ContentSHA256   string `json:"content_sha256"`
	}
	listed, ids := []member{}, []string{}
	for _, m := range members {
		listed = append(listed, member{m.ID, m.ContentSHA256})
		ids = append(ids, m.ID)
	}
	manifest, err := json.Marshal(map[string]any{"policy_set_id": s.ID, "version": number, "policies": listed})
	if err != nil {
		panic(err) // plain strings and numbers
	}
	data := fmt.Appendf(nil, "bundle of %s", manifest)
	b := store.Bundle{SHA256: hashOf(data), Data: data, Envelope: json.RawMessage(`{"payload":"signed"}`)}
	return store.SetVersion{
		ID: newID(), PolicySetID: s.ID, ZoneID: s.ZoneID, Version: number, Manifest: manifest, ManifestSHA256: hashOf(manifest),
		BundleSHA256: b.SHA256, BundleSize: int64(len(data)), SchemaVersion: "2026-05-20", Warnings: json.RawMessage(`[]`),
		CreatedAt: start, CreatedBy: "someone",
	}, ids, b
}

// setVersion makes a set's next version.
func (f *fixture) setVersion(s store.PolicySet, members ...store.PolicyVersion) store.SetVersion {
	f.Helper()
	var v store.SetVersion
	f.update(func(tx store.Tx) error {
		n, err := tx.NextSetVersion(f.ctx, s.ZoneID, s.ID)
		if err != nil {
			return err
		}
		var ids []string
		var b store.Bundle
		v, ids, b = draft(s, n, members...)
		return tx.InsertSetVersion(f.ctx, v, ids, b)
	})
	return v
}

// move is a pointer to a version, nil for none, and its activation, not stored yet.
func move(zone string, sequence int64, v *store.SetVersion) (store.Pointer, store.Activation) {
	at := start.Add(time.Duration(sequence) * time.Second)
	p := store.Pointer{
		ZoneID: zone, Sequence: sequence, Envelope: json.RawMessage(fmt.Sprintf(`{"sequence":%d}`, sequence)),
		IssuedAt: at, ExpiresAt: at.Add(time.Hour), Since: at, ActivatedBy: "someone", Reason: "because",
	}
	a := store.Activation{ID: newID(), ZoneID: zone, Sequence: sequence, Reason: "because", ActorID: "actor", ActorName: "someone", CreatedAt: at}
	if v != nil {
		p.PolicySetID, p.VersionID = &v.PolicySetID, &v.ID
		p.ManifestSHA256, p.BundleSHA256, p.BundleSize = v.ManifestSHA256, v.BundleSHA256, v.BundleSize
		a.PolicySetID, a.VersionID, a.ManifestSHA256, a.BundleSHA256 = p.PolicySetID, p.VersionID, p.ManifestSHA256, p.BundleSHA256
	}
	return p, a
}

// moved moves a zone's pointer.
func (f *fixture) moved(zone string, sequence int64, v *store.SetVersion) (store.Pointer, store.Activation) {
	f.Helper()
	p, a := move(zone, sequence, v)
	f.update(func(tx store.Tx) error { return tx.MovePointer(f.ctx, p, a) })
	return p, a
}
