package sqlite_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// writeTo is the variable that makes the test binary a process that writes to
// the directory it names until it is killed.
const writeTo = "CARACALD_TEST_WRITE_TO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeTo); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(context.Background(), dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// acknowledged is what a writer said is durable.
type acknowledged struct {
	// Sequence is the pointer's, Chain the newest admin event's, Offset the events' next.
	Sequence, Chain int64
	Offset          uint64
}

// writeForever moves the pointer of zone z1, with an admin event in the same
// transaction, and stores events, and prints what is durable after each.
func writeForever(ctx context.Context, dir string) error {
	s, err := sqlite.Open(ctx, dir, options)
	if err != nil {
		return err
	}
	for {
		var done acknowledged
		err := s.Update(ctx, func(tx store.Tx) error {
			p, err := tx.Pointer(ctx, "z1")
			if err != nil {
				return err
			}
			p.Sequence++
			done.Sequence = p.Sequence
			activation := store.Activation{ID: uuid.NewString(), ZoneID: p.ZoneID, Sequence: p.Sequence, PolicySetID: p.PolicySetID, VersionID: p.VersionID}
			e, err := tx.AppendAdminEvent(ctx, store.AdminEvent{ID: uuid.NewString(), Action: fmt.Sprint(p.Sequence), OccurredAt: start})
			done.Chain = e.ChainSeq
			return errors.Join(err, tx.MovePointer(ctx, p, activation))
		})
		if err != nil {
			return err
		}
		next, err := s.Events().NextOffset(ctx, "d", "killed")
		if err != nil {
			return err
		}
		batch := store.EventBatch{DaemonID: "d", Epoch: "killed", First: next, PrevHash: chainAt(next), At: start}
		for i := range rand.N(40) + 1 {
			batch.Events = append(batch.Events, store.Event{ID: uuid.NewString(), ZoneID: "z1", RequestID: fmt.Sprint(next + uint64(i)), OccurredAt: start})
		}
		batch.Hash = chainAt(next + uint64(len(batch.Events)))
		result, err := s.Events().Append(ctx, batch)
		if err != nil {
			return err
		}
		done.Offset = result.NextOffset
		fmt.Println(done.Sequence, done.Chain, done.Offset)
	}
}

// chainAt stands for the daemon's hash chain at an offset.
func chainAt(offset uint64) [32]byte {
	if offset == 0 {
		return [32]byte{}
	}
	return sha256.Sum256(fmt.Append(nil, offset))
}

// TestKilled kills a process that writes, again and again: what it was told is
// durable is there, and the store finds nothing wrong.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		last := killWriter(t, dir, rand.N(60)+1)
		s := open(t, dir)
		if wrong, err := s.Check(t.Context()); err != nil || len(wrong) != 0 {
			t.Fatalf("after a kill %q is wrong: %v", wrong, err)
		}
		var now acknowledged
		err := s.View(t.Context(), func(r store.Reader) error {
			p, err := r.Pointer(t.Context(), "z1")
			if err != nil {
				return err
			}
			newest, err := r.AdminEvents(t.Context(), store.AdminEventQuery{Limit: 1})
			if err != nil {
				return err
			}
			now.Sequence, now.Chain = p.Sequence, newest[0].ChainSeq
			if want := fmt.Sprint(p.Sequence); newest[0].Action != want {
				t.Errorf("the newest entry is of sequence %s, the pointer is at %s", newest[0].Action, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if now.Offset, err = s.Events().NextOffset(t.Context(), "d", "killed"); err != nil {
			t.Fatal(err)
		}
		// One write of each kind may have been done and not said.
		if d := now.Sequence - last.Sequence; d < 0 || d > 1 {
			t.Errorf("sequence %d was acknowledged, %d is there", last.Sequence, now.Sequence)
		}
		if now.Chain < last.Chain || now.Offset < last.Offset {
			t.Errorf("%+v was acknowledged, %+v is there", last, now)
		}
		for _, offset := range []uint64{0, last.Offset - 1, now.Offset - 1} {
			if list, err := s.Events().ByRequest(t.Context(), "z1", fmt.Sprint(offset)); err != nil || len(list) != 1 {
				t.Errorf("offset %d is stored %d times: %v", offset, len(list), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter lets a process write and kills it, amid whatever it then does,
// once it has acknowledged some writes. It gives the last of these.
func killWriter(t *testing.T, dir string, after int) acknowledged {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writeTo+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last acknowledged
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Sscan(lines.Text(), &last.Sequence, &last.Chain, &last.Offset); err != nil {
			t.Fatalf("the writer says %q: %v", lines.Text(), err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writer was not killed: %v", err)
	}
	return last
}
