package admin_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	_ "gocloud.dev/blob/fileblob"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// openStore opens an object store of files.
func openStore(t *testing.T, dir string) *distribution.Store {
	t.Helper()
	s, err := distribution.OpenStore(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publishing is a plane whose bundles go to a directory.
func publishing(t *testing.T, dir string, interval time.Duration) *plane {
	t.Helper()
	s := openStore(t, dir)
	p := newPlane(t, func(c *admin.Config) { c.BundleStore, c.MaintenanceInterval = s, interval })
	t.Cleanup(func() {
		p.stop()
		_ = s.Close()
	})
	return p
}

// restarted is another control plane over the same store, which runs.
func (p *plane) restarted(dir string) *plane {
	p.t.Helper()
	p.stop()
	s := openStore(p.t.(*testing.T), dir)
	again := *p
	var err error
	again.reader = metric.NewManualReader()
	again.server, err = admin.New(p.t.Context(), admin.Config{
		Store: p.store, Keys: p.keys, BootstrapToken: root, BundleStore: s, MaintenanceInterval: 10 * time.Millisecond,
		MeterProvider: metric.NewMeterProvider(metric.WithReader(again.reader)),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	again.run()
	p.t.Cleanup(func() {
		again.stop()
		_ = s.Close()
	})
	return &again
}

// inDirectory tells whether a directory has a bundle's very bytes.
func inDirectory(dir, sha256 string) bool {
	data, err := os.ReadFile(filepath.Join(dir, sha256))
	return err == nil && bundle.SHA256Hex(data) == sha256
}

// TestBundleStore: a bundle is published as soon as it is made, whether it is
// activated or not.
func TestBundleStore(t *testing.T) {
	dir := t.TempDir()
	p := publishing(t, dir, time.Hour).run() // so that nothing but the write itself can be the cause
	p.eventually("the first look is over", func() bool { return p.measured("caracal.admin.bundle_store.pending") == 0 })
	for i := range 3 {
		_, _, v := p.governed(fmt.Sprint("zone ", i), readersOnly)
		p.eventually("the bundle is published", func() bool { return inDirectory(dir, v.BundleSHA256) })
	}
	p.eventually("nothing is pending", func() bool {
		return p.measured("caracal.admin.bundle_store.pending") == 0 && p.measured("caracal.admin.bundle_store.publishes") == 3
	})
}

// TestBundleStoreFromBefore: bundles that were made before there was an object
// store, or by another replica, are published too; what is there is not written
// again, and what somebody removed comes back with a restart.
func TestBundleStoreFromBefore(t *testing.T) {
	p := newPlane(t, nil).run()
	var made []string
	for i := range 20 {
		_, _, v := p.governed(fmt.Sprint("zone ", i), readersOnly)
		made = append(made, v.BundleSHA256)
	}
	dir := t.TempDir()
	q := p.restarted(dir)
	all := func() bool {
		for _, hash := range made {
			if !inDirectory(dir, hash) {
				return false
			}
		}
		return true
	}
	q.eventually("the bundles of before are published", all)
	_, _, v := p.governed("by another replica", readersOnly) // p has no object store
	made = append(made, v.BundleSHA256)
	q.eventually("the other replica's bundle is published", all)

	before, err := os.Stat(filepath.Join(dir, made[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, made[1])); err != nil {
		t.Fatal(err)
	}
	q = q.restarted(dir)
	q.eventually("the removed object is back", all)
	if after, err := os.Stat(filepath.Join(dir, made[0])); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("an object that was there was written again (%v)", err)
	}
}

// TestBundleStoreAway: while the object store is away nothing waits for it, what
// is not published is shown, and it is published later, after a restart too.
func TestBundleStoreAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundles")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	away := func() { // a file is where the directory was
		t.Helper()
		if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		t.Helper()
		if err := errors.Join(os.Remove(dir), os.Mkdir(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	p := publishing(t, dir, 10*time.Millisecond).run()
	away()
	var made []string
	for i := range 12 { // more than are tried at once
		_, set, v := p.governed(fmt.Sprint("zone ", i), readersOnly)
		made = append(made, v.BundleSHA256)
		p.activateVersion(set, v.ID)
	}
	p.eventually("the failures are shown", func() bool {
		return p.measured("caracal.admin.bundle_store.pending") == int64(len(made)) && p.measured("caracal.admin.bundle_store.publishes") > 0
	})
	back()
	all := func() bool {
		for _, hash := range made {
			if !inDirectory(dir, hash) {
				return false
			}
		}
		return p.measured("caracal.admin.bundle_store.pending") == 0
	}
	p.eventually("all is published when the store is back", all)

	away()
	_, _, v := p.governed("last", readersOnly)
	p.eventually("the failure is shown", func() bool { return p.measured("caracal.admin.bundle_store.pending") == 1 })
	p.stop()
	back()
	q := p.restarted(dir)
	q.eventually("what was pending is published after a restart", func() bool { return inDirectory(dir, v.BundleSHA256) })
}

// TestBundleStoreConflict: other bytes under a bundle's hash stay as they are, are
// shown, and hold up no other bundle.
func TestBundleStoreConflict(t *testing.T) {
	p := newPlane(t, nil).run()
	_, _, bad := p.governed("bad", readersOnly)
	_, _, good := p.governed("good", readersOnly)
	dir := t.TempDir()
	squatter := filepath.Join(dir, bad.BundleSHA256)
	other := bytes.Repeat([]byte("x"), int(bad.BundleSize))
	if err := os.WriteFile(squatter, other, 0o600); err != nil {
		t.Fatal(err)
	}
	q := p.restarted(dir)
	q.eventually("the conflict is shown", func() bool {
		return q.measured("caracal.admin.bundle_store.conflicts") == 1 && q.measured("caracal.admin.bundle_store.pending") == 1
	})
	q.eventually("the other bundle is published", func() bool { return inDirectory(dir, good.BundleSHA256) })
	if data, err := os.ReadFile(squatter); err != nil || !bytes.Equal(data, other) {
		t.Errorf("what was there was rewritten: %v", err)
	}
	if err := os.Remove(squatter); err != nil {
		t.Fatal(err)
	}
	q.eventually("the bundle is published once its place is free", func() bool {
		return inDirectory(dir, bad.BundleSHA256) && q.measured("caracal.admin.bundle_store.conflicts") == 0
	})
}
