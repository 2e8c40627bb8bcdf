package audit_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("AUDIT_TEST_DIR"); os.Getenv("AUDIT_TEST_CHILD") {
	case "hold":
		os.Exit(holdSpool(dir))
	case "append":
		os.Exit(appendForever(dir))
	}
	os.Exit(m.Run())
}

// crashOptions make segments, groups and full spools come often, and where records are
// left to the operating system, segments that lie in memory.
func crashOptions(dir string, d audit.Durability) audit.SpoolOptions {
	if d == audit.SyncNone {
		return audit.WithSyncPause(audit.SpoolOptions{Dir: dir, Durability: d, MaxBytes: 1 << 20, SegmentBytes: 4 << 10}, time.Millisecond)
	}
	return audit.SpoolOptions{Dir: dir, Durability: d, MaxBytes: 6 << 10, SegmentBytes: 1 << 10}
}

// crashLines is how many lines a child says at most before it is killed.
func crashLines(d audit.Durability) int {
	if d == audit.SyncNone {
		return 3000 // it takes a while until segments lie in memory
	}
	return 300
}

// appendForever appends from several goroutines and says on stdout what is
// durable: "a ID" for a record that was appended, "g N" for gaps that were
// noted, "d ID" for a record that is about to be acknowledged, "m" for a batch that was
// read while a segment lay in memory.
func appendForever(dir string) int {
	durability, err := strconv.Atoi(os.Getenv("AUDIT_TEST_DURABILITY"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := audit.OpenSpool(crashOptions(dir, audit.Durability(durability)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	run := os.Getenv("AUDIT_TEST_RUN")
	say := func(line string) { _, _ = os.Stdout.WriteString(line + "\n") } // one write, whole or not at all
	var wg sync.WaitGroup
	for a := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				r := testRecord(i)
				r.ID = fmt.Sprintf("%s-%d-%d", run, a, i)
				r.Input = []byte(`"` + strings.Repeat("x", rand.IntN(300)) + `"`)
				switch err := s.Append(r); {
				case err == nil:
					say("a " + r.ID)
				default:
					s.NoteGap("zone", 1, "full")
					say("g 1")
				}
			}
		})
	}
	wg.Go(func() {
		for {
			b, err := s.Next(context.Background(), 1+rand.IntN(40), 0)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if maps, err := os.ReadFile("/proc/self/maps"); err == nil && strings.Contains(string(maps), ".seg") {
				say("m")
			}
			for _, r := range b.Records {
				if r.EventType == audit.EventGap {
					say("d gap " + string(r.Metadata))
				} else {
					say("d " + r.ID)
				}
			}
			if err := s.Ack(b.Next()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	})
	wg.Wait()
	return 0
}

// TestKilled kills a process at random moments, again and again over one
// directory. Whatever it said was durable must be delivered in the end, and the
// counts of gaps must not be short.
func TestKilled(t *testing.T) {
	for name, durability := range durabilities {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killAndRecover(t, durability)
		})
	}
}

func killAndRecover(t *testing.T, durability audit.Durability) {
	dir := t.TempDir()
	deadline := time.Now().Add(2 * time.Second)
	if testing.Short() {
		deadline = time.Now().Add(time.Second)
	}
	epoch, kills, mapped := "", 0, 0
	var noted, delivered uint64
	missing := make(map[string]bool)                                    // said to be durable and not delivered yet
	inMemory := durability == audit.SyncNone && runtime.GOOS == "linux" // segments come to lie there
	for ; kills < 3 || time.Now().Before(deadline) || inMemory && mapped == 0 && kills < 100; kills++ {
		var said crashLog
		said.read(t, runUntilKilled(t, dir, durability, kills))
		noted += said.gaps
		delivered += said.deliveredGaps
		mapped += said.mapped
		for id := range said.appended {
			missing[id] = true
		}
		// What the child has delivered may have been appended by one before.
		for id := range said.delivered {
			delete(missing, id)
		}

		s, err := audit.OpenSpool(crashOptions(dir, durability))
		if err != nil {
			t.Fatalf("after %d kills: %v", kills+1, err)
		}
		if epoch == "" {
			epoch = s.Epoch()
		}
		if s.Epoch() != epoch {
			t.Fatal("a kill began a new epoch")
		}
		// Only sometimes, so that segments also outlive several kills.
		if kills%3 == 2 {
			records, holes := readAll(t, s, 50)
			if holes != 0 {
				t.Fatalf("%d offsets are missing", holes)
			}
			for _, r := range records {
				delete(missing, r.ID)
			}
			for _, n := range gapsOf(t, records) {
				delivered += n
			}
		}
		closeSpool(t, s)
	}
	s := openSpool(t, crashOptions(dir, durability))
	for s.Stats().Depth > 0 || s.Stats().PendingGaps > 0 {
		b, err := s.Next(t.Context(), 50, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			delete(missing, r.ID)
		}
		for _, n := range gapsOf(t, b.Records) {
			delivered += n
		}
		if err := s.Ack(b.Next()); err != nil {
			t.Fatal(err)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%d records that were durable are gone after %d kills, as %v", len(missing), kills, slices.Collect(maps.Keys(missing))[0])
	}
	if delivered < noted {
		t.Errorf("%d records were noted as lost, the gap records tell of %d", noted, delivered)
	}
	if inMemory && mapped == 0 {
		t.Error("no segment lay in memory when a child was killed")
	}
	t.Logf("%d kills, %d records at %s, %d gaps noted, %d delivered, %d times in memory", kills, s.Stats().NextOffset, epoch, noted, delivered, mapped)
}

// runUntilKilled starts a child, kills it after a while, and returns what it said.
func runUntilKilled(t *testing.T, dir string, durability audit.Durability, run int) string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "AUDIT_TEST_CHILD=append", "AUDIT_TEST_DIR="+dir,
		"AUDIT_TEST_RUN="+strconv.Itoa(run), "AUDIT_TEST_DURABILITY="+strconv.Itoa(int(durability)))
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// It dies after a random number of lines and then a random moment, so that
	// the kill falls anywhere in the work on the next.
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for n := rand.IntN(crashLines(durability)); n > 0 && lines.Scan(); n-- {
		said.WriteString(lines.Text() + "\n")
	}
	killer := time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = child.Process.Kill() })
	defer killer.Stop()
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
	}
	err = child.Wait()
	if stderr.Len() > 0 || child.ProcessState.ExitCode() >= 0 {
		t.Fatalf("the child ended by itself: %v: %s", err, stderr.String())
	}
	return said.String()
}

// crashLog is what one child said.
type crashLog struct {
	appended, delivered map[string]bool
	gaps, deliveredGaps uint64
	mapped              int
}

func (c *crashLog) read(t *testing.T, said string) {
	t.Helper()
	c.appended, c.delivered = make(map[string]bool), make(map[string]bool)
	for line := range strings.Lines(said) {
		line = strings.TrimSuffix(line, "\n")
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "a":
			c.appended[rest] = true
		case "g":
			c.gaps++
		case "m":
			c.mapped++
		case "d":
			if metadata, ok := strings.CutPrefix(rest, "gap "); ok {
				var n uint64
				if _, err := fmt.Sscanf(metadata, `{"count":%d,`, &n); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				c.deliveredGaps += n
			} else {
				c.delivered[rest] = true
			}
		default:
			t.Fatalf("the child said %q", line)
		}
	}
}
