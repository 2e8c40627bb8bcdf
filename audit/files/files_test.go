package files_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/files"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// source is a daemon's spool.
type source struct {
	*audit.Spool
	t      testing.TB
	daemon string
	next   int
}

func newSource(t testing.TB) *source {
	t.Helper()
	s, err := audit.OpenSpool(audit.SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &source{Spool: s, t: t, daemon: uuid.NewString()}
}

func (s *source) add(n int) {
	s.t.Helper()
	for range n {
		r := &audit.Record{ID: uuid.NewString(), EventType: audit.EventDecision, ZoneID: "z1", RequestID: fmt.Sprint(s.next), Decision: "deny", EvaluationStatus: "complete",
			Sequence: 3, Diagnostics: json.RawMessage("[ {\"reason\" : \"a<b\"} ]"), Metadata: json.RawMessage("{}"), Input: json.RawMessage("{\"n\":\n 1.0e0}"), OccurredAt: time.Now().UTC()}
		if err := s.Append(r); err != nil {
			s.t.Fatal(err)
		}
		s.next++
	}
}

func (s *source) read(n int) *audit.EncodedBatch {
	s.t.Helper()
	b := new(audit.EncodedBatch)
	if err := s.NextEncoded(s.t.Context(), b, n, 0); err != nil {
		s.t.Fatal(err)
	}
	return b
}

// ship hands everything to a sink, n records at a time.
func (s *source) ship(to *files.Sink, n int) {
	s.t.Helper()
	for s.Stats().Depth > 0 {
		b := s.read(n)
		next, _, err := to.Take(s.t.Context(), s.daemon, b)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.Ack(next); err != nil {
			s.t.Fatal(err)
		}
	}
}

func open(t testing.TB, o files.Options) *files.Sink {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := files.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func shut(t testing.TB, s *files.Sink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// listed gives the files of audit in a directory, rotated ones first, oldest first.
func listed(t testing.TB, path string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "audit-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return append(names, path)
}

// written lists the request ids in the files, in order.
func written(t testing.TB, path string) (ids []string) {
	t.Helper()
	for _, name := range listed(t, path) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		for text := range bytes.Lines(data) {
			var line struct {
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(text, &line); err != nil {
				t.Fatalf("%s has the line %q: %v", name, text, err)
			}
			ids = append(ids, line.RequestID)
		}
	}
	return ids
}

// holds wants the records 0 to n in the files, each once and in order.
func holds(t testing.TB, path string, n int) {
	t.Helper()
	ids := written(t, path)
	if len(ids) != n {
		t.Fatalf("%d records are written, want %d: %v", len(ids), n, ids)
	}
	for i, id := range ids {
		if id != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, id)
		}
	}
}

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "audit.ndjson")
	s := open(t, files.Options{Path: path})
	src := newSource(t)
	src.add(1)
	epoch := src.Epoch()
	src.ship(s, 0)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`{"daemon_id":"` + src.daemon + `","epoch":"` + epoch + `","offset":0,"id":"`, `"request_id":"0","decision":"deny"`, `"sequence":3`,
		`"determining_policies_json":null`, `"diagnostics_json":[{"reason":"a<b"}]`, `"policy_input":{"n":1.0e0}}` + "\n",
	} {
		if !strings.Contains(string(data), part) {
			t.Errorf("%s lacks %s", data, part)
		}
	}
	if _, err := files.Open(files.Options{Path: path}); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("a second sink: %v, want ErrLocked", err)
	}
}

// TestRotation: files are rotated by size and by age, compressed, and removed by
// number and by age; what is kept has every record once.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	src := newSource(t)
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	forward := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	o := files.Options{Path: path, MaxBytes: 3000, RotateAfter: time.Hour, Now: clock}
	s := open(t, o)
	src.add(40)
	src.ship(s, 3)
	eventually(t, "rotated files are compressed", func() bool {
		all := listed(t, path)
		return len(all) > 5 && !slices.ContainsFunc(all[:len(all)-1], func(n string) bool { return !strings.HasSuffix(n, ".ndjson.gz") })
	})
	holds(t, path, 40)
	for _, name := range listed(t, path) {
		if info, err := os.Stat(name); err != nil || info.Size() > 3000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	before := len(listed(t, path))
	forward(2 * time.Hour)
	src.add(1)
	src.ship(s, 0)
	if n := len(listed(t, path)); n < before+1 {
		t.Errorf("%d files after an hour, %d before", n, before)
	}
	// The clock goes back; names go forward all the same.
	forward(-time.Hour)
	src.add(20)
	src.ship(s, 3)
	shut(t, s)
	holds(t, path, 61)

	o.MaxFiles = 2
	s = open(t, o)
	eventually(t, "two rotated files are left", func() bool { return len(listed(t, path)) == 3 })
	shut(t, s)
	ids := written(t, path)
	if len(ids) == 0 || ids[len(ids)-1] != "60" {
		t.Errorf("%v are left", ids)
	}
	forward(48 * time.Hour)
	o.MaxFiles, o.MaxAge = 0, 24*time.Hour
	s = open(t, o)
	eventually(t, "old files are gone", func() bool { return len(listed(t, path)) == 1 })
	shut(t, s)
}

// TestComesAgain: a batch that comes again, whole, in part or longer, over
// restarts and rotations, is written once.
func TestComesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	o := files.Options{Path: path, MaxBytes: 4000}
	src := newSource(t)
	src.add(30)
	s := open(t, o)
	take := func(n int, want uint64) {
		t.Helper()
		next, _, err := s.Take(t.Context(), src.daemon, src.read(n))
		if err != nil || next != want {
			t.Fatalf("took up to %d, %v, want %d", next, err, want)
		}
	}
	take(5, 5)
	take(5, 5)
	take(3, 3)
	shut(t, s)
	s = open(t, o)
	take(12, 12)
	shut(t, s)
	// As after a kill between rotating and the first record of the new file.
	if err := os.Rename(path, strings.TrimSuffix(path, ".ndjson")+"-20990102T150405.000000000Z.ndjson"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // read as it is, then compressed
		s = open(t, o)
		take(12, 12)
		eventually(t, "it is compressed", func() bool {
			return !slices.ContainsFunc(listed(t, path), func(n string) bool { return strings.HasSuffix(n, "0Z.ndjson") })
		})
		shut(t, s)
	}
	s = open(t, o)
	src.ship(s, 7)
	shut(t, s)
	holds(t, path, 30)
}

// TestDamage: a torn line is cut off and comes again; lines that are no records
// are kept, in a file of their own.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	o := files.Options{Path: path}
	src := newSource(t)
	src.add(10)
	s := open(t, o)
	if _, _, err := s.Take(t.Context(), src.daemon, src.read(6)); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < 400; cut += 57 {
		if err := os.WriteFile(path, data[:len(data)-cut], 0o640); err != nil {
			t.Fatal(err)
		}
		s = open(t, o)
		if _, _, err := s.Take(t.Context(), src.daemon, src.read(6)); err != nil {
			t.Fatal(err)
		}
		shut(t, s)
		holds(t, path, 6)
	}
	if err := os.WriteFile(path, append(data[:len(data):len(data)], "scribbled by somebody\n"...), 0o640); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	src.ship(s, 0)
	shut(t, s)
	all := listed(t, path)
	if len(all) != 2 {
		t.Fatalf("%v", all)
	}
	rest, err := os.ReadFile(path)
	if err != nil || bytes.Count(rest, []byte("\n")) != 4 {
		t.Errorf("%v, %s", err, rest)
	}
}

// TestSickDisk: whatever fails, in the middle of a batch or of a rotation, no
// record is lost or written twice once the disk is well.
func TestSickDisk(t *testing.T) {
	for _, operations := range [][]string{{"write"}, {"sync"}, {"write", "truncate"}, {"sync", "truncate"}, {"rename"}, {"create"}, {"pack"}, {"write", "sync", "truncate", "rename", "create", "pack"}} {
		t.Run(strings.Join(operations, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.ndjson")
			var mu sync.Mutex
			sick, failures := false, 0
			// Files are compressed beside writing, at no certain time, so the first
			// attempt fails however the disk is then.
			packing := make(chan struct{})
			first := sync.OnceFunc(func() { close(packing) })
			if !slices.Contains(operations, "pack") {
				first()
			}
			fault := func(operation, _ string) error {
				mu.Lock()
				defer mu.Unlock()
				early := false
				if operation == "pack" {
					select {
					case <-packing:
					default:
						early = true
						first()
					}
				}
				if (sick || early) && slices.Contains(operations, operation) {
					failures++
					return syscall.ENOSPC
				}
				return nil
			}
			set := func(to bool) {
				mu.Lock()
				defer mu.Unlock()
				sick = to
			}
			s := open(t, files.WithFaults(files.Options{Path: path, MaxBytes: 2000}, fault))
			src := newSource(t)
			src.add(30)
			for round := 0; src.Stats().Depth > 0; round++ {
				set(round%2 == 0)
				b := src.read(3)
				next, _, err := s.Take(t.Context(), src.daemon, b)
				if err != nil {
					if round%2 == 1 {
						t.Fatalf("with a disk that is well: %v", err)
					}
					if !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
					continue
				}
				if err := src.Ack(next); err != nil {
					t.Fatal(err)
				}
			}
			set(false)
			<-packing
			shut(t, s)
			holds(t, path, 30)
			if failures == 0 {
				t.Error("nothing failed")
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []files.Options{{}, {Path: "x", MaxBytes: -1}, {Path: "x", MaxAge: -1}, {Path: "x", MaxFiles: -1}} {
		if _, err := files.Open(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
