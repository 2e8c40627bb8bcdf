package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// packedSpool makes a spool whose full segments were all compressed, and gives how
// many records it has; it is open.
func packedSpool(t *testing.T, o audit.SpoolOptions, n int) *audit.Spool {
	t.Helper()
	o.SegmentBytes, o.PackDelay = 8<<10, time.Nanosecond
	s := openSpool(t, o)
	appendRecords(t, s, 0, n)
	waitPacked(t, s, o.Dir)
	return s
}

// waitPacked waits until all segments but the last are compressed.
func waitPacked(t *testing.T, s *audit.Spool, dir string) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		names := segmentNames(t, dir)
		var last uint64
		if _, err := fmt.Sscanf(filepath.Base(names[len(names)-1]), "%d", &last); err != nil {
			t.Fatal(err)
		}
		if s.Stats().Packed == last-s.Stats().AckedOffset {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not compressed: %+v, %v", s.Stats(), names)
		}
	}
}

func segmentNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	return names
}

// Compressed segments hold what was appended, take a fraction of the room, and are
// read by the next run too.
func TestPack(t *testing.T) {
	const n = 2000
	for name, durability := range durabilities {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/reopened=%v", name, again), func(t *testing.T) {
				o := audit.SpoolOptions{Dir: t.TempDir(), Durability: durability}
				s := packedSpool(t, o, n)
				stats := s.Stats()
				if stats.Packed < n/2 || stats.PackedBytes > int64(stats.Packed)*60 {
					t.Fatalf("%d records take %d bytes compressed", stats.Packed, stats.PackedBytes)
				}
				if size := writtenBytes(t, o.Dir); size != stats.Bytes && size != stats.Bytes-1 {
					t.Fatalf("the files have %d bytes, the spool says %d", size, stats.Bytes)
				}
				if again {
					closeSpool(t, s)
					s = openSpool(t, o)
					if got := s.Stats(); got.Bytes != stats.Bytes || got.Packed != stats.Packed {
						t.Fatalf("reopened: %+v, before %+v", got, stats)
					}
				}
				records, holes := readAll(t, s, 77)
				if holes > 0 || len(records) != n {
					t.Fatalf("%d records, %d missing", len(records), holes)
				}
				for i, r := range records {
					if want := testRecord(i); !reflect.DeepEqual(r, *want) {
						t.Fatalf("record %d is %+v, want %+v", i, r, want)
					}
				}
			})
		}
	}
}

// Reading goes on where it was while segments are compressed under it.
func TestPackWhileReading(t *testing.T) {
	o := audit.SpoolOptions{Dir: t.TempDir(), SegmentBytes: 4 << 10, PackDelay: time.Nanosecond, Durability: audit.SyncNone}
	s := openSpool(t, o)
	const n = 3000
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if err := s.Append(testRecord(i)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for next := 0; next < n; {
		b, err := s.Next(t.Context(), 50, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(); err != nil {
			t.Fatal(err)
		}
		for i, r := range b.Records {
			if r.RequestID != fmt.Sprint(next+i) {
				t.Fatalf("record %s at %d", r.RequestID, next+i)
			}
		}
		next += len(b.Records)
		// Acknowledging lags, so that segments are compressed before they go.
		if next%500 < 50 {
			if err := s.Ack(b.Next()); err != nil {
				t.Fatal(err)
			}
		} else if err := s.Ack(b.First + 1); err != nil {
			t.Fatal(err)
		} else {
			next = int(b.First + 1)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A damaged frame of a compressed segment is a hole like any other, and the rest is
// still there.
func TestPackedDamage(t *testing.T) {
	o := audit.SpoolOptions{Dir: t.TempDir()}
	const n = 1000
	s := packedSpool(t, o, n)
	closeSpool(t, s)
	name := segmentNames(t, o.Dir)[1]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 4
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, o)
	records, holes := readAll(t, s, 0)
	gaps := gapsOf(t, records)
	for holes > 0 && gaps[" damaged"] < holes { // its record comes after the acknowledgement
		b, err := s.Next(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for zone, n := range gapsOf(t, b.Records) {
			gaps[zone] += n
		}
	}
	if holes == 0 || holes > n/2 || gaps[" damaged"] != holes {
		t.Fatalf("%d records are missing, %v are counted", holes, gaps)
	}
}

// A segment that cannot be written anew stays as it is.
func TestPackOnFullDisk(t *testing.T) {
	failed := make(chan struct{}, 100)
	faults := &audit.Faults{Create: func(name string) error {
		if filepath.Ext(name) == ".tmp" && filepath.Ext(name[:len(name)-4]) == ".packed" {
			select {
			case failed <- struct{}{}:
			default:
			}
			return os.ErrPermission
		}
		return nil
	}}
	o := audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir(), SegmentBytes: 4 << 10, PackDelay: time.Nanosecond}, faults, quickRetry)
	s := openSpool(t, o)
	appendRecords(t, s, 0, 500)
	select {
	case <-failed:
	case <-time.After(patience):
		t.Fatal("nothing was tried")
	}
	if records, holes := readAll(t, s, 0); len(records) != 500 || holes > 0 {
		t.Fatalf("%d records, %d missing", len(records), holes)
	}
}
