package audit_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

// sickDisk fails what it is told to.
type sickDisk struct {
	create, write, sync, truncate atomic.Bool
}

func (d *sickDisk) faults() *audit.Faults {
	fault := func(on *atomic.Bool, err error) func(string) error {
		return func(string) error {
			if on.Load() {
				return err
			}
			return nil
		}
	}
	return &audit.Faults{
		Create: fault(&d.create, syscall.ENOSPC), Write: fault(&d.write, syscall.ENOSPC),
		Sync: fault(&d.sync, syscall.EIO), Truncate: fault(&d.truncate, syscall.EIO),
	}
}

func (d *sickDisk) heal() {
	d.create.Store(false)
	d.write.Store(false)
	d.sync.Store(false)
	d.truncate.Store(false)
}

const quickRetry = time.Millisecond

// appendWhenWell appends once the spool has recovered.
func appendWhenWell(t testing.TB, s *audit.Spool, i int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := s.Append(testRecord(i))
		if err == nil {
			return
		}
		if !errors.Is(err, audit.ErrSpoolFailed) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestDiskFails(t *testing.T) {
	for name, fail := range map[string]func(*sickDisk){
		"write":                  func(d *sickDisk) { d.write.Store(true) },
		"fsync":                  func(d *sickDisk) { d.sync.Store(true) },
		"fsync and truncate":     func(d *sickDisk) { d.sync.Store(true); d.truncate.Store(true) },
		"write and new segments": func(d *sickDisk) { d.write.Store(true); d.create.Store(true) },
		"everything": func(d *sickDisk) {
			d.write.Store(true)
			d.sync.Store(true)
			d.create.Store(true)
			d.truncate.Store(true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var disk sickDisk
			dir := t.TempDir()
			s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: dir}, disk.faults(), quickRetry))
			appendRecords(t, s, 0, 2)
			fail(&disk)
			for range 3 {
				if err := s.Append(testRecord(999)); !errors.Is(err, audit.ErrSpoolFailed) {
					t.Fatalf("Append: %v, want ErrSpoolFailed", err)
				}
			}
			if st := s.Stats(); st.NextOffset != 2 || st.Failed == nil {
				t.Errorf("%+v: a record that failed has an offset", st)
			}
			// What is there can still be read.
			if b, err := s.Next(t.Context(), 0, 0); err != nil || len(b.Records) != 2 {
				t.Errorf("%d records, %v, want 2", len(b.Records), err)
			}
			s.NoteGap("zone", 3, "disk")
			disk.heal()
			appendWhenWell(t, s, 10)
			if st := s.Stats(); st.Failed != nil {
				t.Errorf("%+v after recovery", st)
			}
			closeSpool(t, s) // by now at the latest the gap has its record

			s = openSpool(t, audit.SpoolOptions{Dir: dir})
			got, holes := readAll(t, s, 0)
			if n := gapsOf(t, got)["zone disk"]; n != 3 {
				t.Errorf("a gap of %d, want 3", n)
			}
			got = slices.DeleteFunc(got, func(r audit.Record) bool { return r.EventType == audit.EventGap })
			if want := []string{"0", "1", "10"}; !slices.Equal(requestIDs(got), want) || holes != 0 {
				t.Errorf("%v and %d missing, want %v", requestIDs(got), holes, want)
			}
		})
	}
}

// TestFullDiskMakesRoom acknowledges while nothing new can be created: what was
// delivered must give its space back all the same.
func TestFullDiskMakesRoom(t *testing.T) {
	var full atomic.Bool
	dir := t.TempDir()
	faults := &audit.Faults{Create: func(string) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}}
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: dir, SegmentBytes: 1000}, faults, quickRetry))
	appendRecords(t, s, 0, 50)
	full.Store(true)
	for s.Stats().Depth > 0 {
		b, err := s.Next(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Ack(b.Next()); err != nil {
			t.Fatalf("acknowledging on a full disk: %v", err)
		}
	}
	if n := len(segmentFiles(t, dir)); n != 1 {
		t.Errorf("%d segments are left", n)
	}
	closeSpool(t, s)
	s = openSpool(t, audit.SpoolOptions{Dir: dir})
	if st := s.Stats(); st.AckedOffset != 50 || st.Depth != 0 {
		t.Errorf("%+v after opening again", st)
	}
}

func TestAckNeedsTheDisk(t *testing.T) {
	var disk sickDisk
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir()}, disk.faults(), quickRetry))
	appendRecords(t, s, 0, 2)
	disk.create.Store(true)
	disk.write.Store(true)
	if err := s.Ack(1); !errors.Is(err, audit.ErrSpoolFailed) {
		t.Errorf("Ack: %v, want ErrSpoolFailed", err)
	}
	if st := s.Stats(); st.AckedOffset != 0 {
		t.Errorf("%+v: acknowledged without being durable", st)
	}
	disk.heal()
	if err := s.Ack(1); err != nil {
		t.Error(err)
	}
}

// TestGapsOnFullDisk notes gaps while no file can grow or be made.
func TestGapsOnFullDisk(t *testing.T) {
	var full atomic.Bool
	faults := &audit.Faults{
		Create: func(string) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return nil
		},
		Write: func(name string) error {
			if full.Load() && filepath.Base(name) != "gaps" { // that one has its space
				return syscall.ENOSPC
			}
			return nil
		},
	}
	dir := t.TempDir()
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: dir}, faults, quickRetry))
	full.Store(true)
	if err := s.Append(testRecord(1)); !errors.Is(err, audit.ErrSpoolFailed) {
		t.Fatalf("Append: %v", err)
	}
	s.NoteGap("zone", 41, "disk")
	s.NoteGap("zone", 1, "disk")
	crashed := t.TempDir()
	copyDir(t, dir, crashed)
	after := openSpool(t, audit.SpoolOptions{Dir: crashed})
	b, err := after.Next(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := gapsOf(t, b.Records)["zone disk"]; got != 42 {
		t.Errorf("a gap of %d after a crash on a full disk, want 42", got)
	}
}

// TestNothingLeavesBeforeItIsDurable: with SyncNone too, Next makes durable what
// it hands out.
func TestNothingLeavesBeforeItIsDurable(t *testing.T) {
	var disk sickDisk
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir(), Durability: audit.SyncNone}, disk.faults(), quickRetry))
	appendRecords(t, s, 0, 1)
	disk.sync.Store(true)
	appendRecords(t, s, 1, 3) // no fsync is asked for
	if b, err := s.Next(t.Context(), 0, 0); !errors.Is(err, audit.ErrSpoolFailed) {
		t.Errorf("%d records, %v, want ErrSpoolFailed", len(b.Records), err)
	}
	disk.heal()
	if b, err := s.Next(t.Context(), 0, 0); err != nil || len(b.Records) != 3 {
		t.Errorf("%d records, %v, want 3", len(b.Records), err)
	}
}

// TestGroupsShareOneSync holds the first fsync until every other caller has come.
func TestGroupsShareOneSync(t *testing.T) {
	const callers = 32
	var syncs atomic.Int64
	var armed atomic.Bool
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	faults := &audit.Faults{Sync: func(name string) error {
		if armed.Load() && strings.HasSuffix(name, ".seg") {
			syncs.Add(1)
			once.Do(func() { close(held); <-hold })
		}
		return nil
	}}
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir()}, faults, quickRetry))
	armed.Store(true)
	var wg sync.WaitGroup
	call := func(i int) {
		wg.Go(func() {
			if err := s.Append(testRecord(i)); err != nil {
				t.Error(err)
			}
		})
	}
	call(0)
	<-held
	for i := range callers {
		call(i + 1)
	}
	for audit.Queued(s) < callers { // they enqueue while the disk is busy, so this ends
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d calls of fsync for 1 + %d records, want 2", n, callers)
	}
}

// TestAnyFaults drives a spool through faults and restarts in any order. Every
// record that Append took is delivered, in order, under one offset; the offsets
// of the epoch have no hole.
func TestAnyFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var disk sickDisk
		dir := t.TempDir()
		o := audit.SpoolOptions{
			Dir: dir, SegmentBytes: 700, MaxBytes: 16 << 10,
			Durability: rapid.SampledFrom([]audit.Durability{audit.SyncGroup, audit.SyncEach, audit.SyncNone}).Draw(rt, "durability"),
		}
		open := func() *audit.Spool {
			s, err := audit.OpenSpool(audit.WithFaults(o, disk.faults(), quickRetry))
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s := open()
		defer func() { _ = s.Close() }()
		taken, maybe := []string{}, map[string]bool{}
		delivered := map[uint64]string{} // by offset; at least once, so also again
		acked, n := uint64(0), 0
		deliver := func() {
			b, err := s.Next(t.Context(), rapid.IntRange(1, 5).Draw(rt, "batch"), 0)
			if err != nil {
				if errors.Is(err, audit.ErrSpoolFailed) {
					return
				}
				rt.Fatal(err)
			}
			if b.First < acked {
				rt.Fatalf("a batch from %d, acknowledged was %d", b.First, acked)
			}
			for i, r := range b.Records {
				at := b.First + uint64(i)
				if id, ok := delivered[at]; ok && id != r.RequestID {
					rt.Fatalf("offset %d holds record %s, and held %s before", at, r.RequestID, id)
				}
				delivered[at] = r.RequestID
			}
			switch err := s.Ack(b.Next()); {
			case err == nil:
				acked = b.Next()
			case !errors.Is(err, audit.ErrSpoolFailed):
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(*rapid.T) {
				r := testRecord(n)
				n++
				switch err := s.Append(r); {
				case err == nil:
					taken = append(taken, r.RequestID)
				case errors.Is(err, audit.ErrSpoolFailed):
					maybe[r.RequestID] = true
				case !errors.Is(err, audit.ErrSpoolFull):
					rt.Fatal(err)
				}
			},
			"fail create":   func(*rapid.T) { disk.create.Store(true) },
			"fail write":    func(*rapid.T) { disk.write.Store(true) },
			"fail sync":     func(*rapid.T) { disk.sync.Store(true) },
			"fail truncate": func(*rapid.T) { disk.truncate.Store(true) },
			"heal":          func(*rapid.T) { disk.heal() },
			"restart": func(*rapid.T) {
				_ = s.Close() // it may fail: so may a real one
				disk.heal()
				s = open()
			},
			"deliver": func(*rapid.T) {
				if s.Stats().Depth > 0 {
					deliver()
				}
			},
		})
		disk.heal()
		for s.Stats().Depth > 0 {
			deliver()
		}
		// A record that Append failed may come after all, but none twice, and
		// none that was taken may be missing or out of place.
		seen := map[string]bool{}
		var got []string
		for at := range uint64(len(delivered)) {
			id, ok := delivered[at]
			if !ok {
				rt.Fatalf("offset %d was never delivered", at)
			}
			if id == "" {
				continue // a gap
			}
			if seen[id] {
				rt.Fatalf("record %s has two offsets", id)
			}
			seen[id] = true
			if !maybe[id] {
				got = append(got, id)
			}
		}
		if !slices.Equal(got, taken) {
			rt.Fatalf("delivered %v, want %v", got, taken)
		}
	})
}

// Who comes alone after a group does not wait for all that were in it, however long
// groups may be held open.
func TestAloneAfterAGroup(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	var once sync.Once
	faults := &audit.Faults{Sync: func(name string) error {
		if armed.Load() && strings.HasSuffix(name, ".seg") {
			once.Do(func() { close(held); <-hold })
		}
		return nil
	}}
	s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir(), GroupDelay: time.Hour}, faults, quickRetry))
	armed.Store(true)
	appending := []audit.Appending{s.Start(testRecord(1))}
	<-held
	for i := range 3 { // which come together while the first is synced
		appending = append(appending, s.Start(testRecord(2+i)))
	}
	close(hold)
	for _, a := range appending {
		if err := a.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	appended := make(chan error)
	go func() { appended <- s.Append(testRecord(5)) }()
	select {
	case err := <-appended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("waits for others")
	}
}
