package relational_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

var errDisk = errors.New("the disk is full")

// appending is an appender whose transactions end when the test says so.
type appending struct {
	*testing.T
	*relational.Appender
	// running are the transactions that run, by the daemons of their batches.
	running map[string]chan error
	begun   []string
}

func newAppending(t *testing.T, most int) *appending {
	a := &appending{T: t, running: map[string]chan error{}}
	a.Appender = relational.NewAppender(most, func(ctx context.Context, batches []store.EventBatch) ([]relational.Appended, error) {
		var daemons []string
		for _, b := range batches {
			daemons = append(daemons, b.DaemonID)
		}
		name, end := strings.Join(daemons, " "), make(chan error)
		a.running[name] = end // the test looks only when all wait
		a.begun = append(a.begun, name)
		select {
		case err := <-end:
			return make([]relational.Appended, len(batches)), err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return a
}

// ship begins to append a batch of a daemon, with an event of each zone.
func (a *appending) ship(ctx context.Context, daemon string, zones ...string) <-chan error {
	b := store.EventBatch{DaemonID: daemon, Epoch: "e"}
	for _, zone := range zones {
		b.Events = append(b.Events, store.Event{ZoneID: zone})
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.Append(ctx, b)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// end ends a transaction.
func (a *appending) end(name string, err error) {
	a.Helper()
	c := a.running[name]
	if c == nil {
		a.Fatalf("%q does not run; begun were %q", name, a.begun)
	}
	delete(a.running, name)
	c <- err
	synctest.Wait()
}

// were fails the test unless just these transactions were begun since it was asked last.
func (a *appending) were(names ...string) {
	a.Helper()
	if !slices.Equal(a.begun, names) {
		a.Fatalf("begun were %q, want %q", a.begun, names)
	}
	a.begun = nil
}

// is fails the test unless a call has ended so.
func (a *appending) is(call <-chan error, want error) {
	a.Helper()
	select {
	case err := <-call:
		if !errors.Is(err, want) {
			a.Fatalf("it ended with %v, want %v", err, want)
		}
	default:
		a.Fatal("it has not ended")
	}
}

// What comes while a transaction runs is stored together in the next one, but
// for two batches of one stream, in their order.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppending(t, 1)
		first := a.ship(t.Context(), "a", "z")
		rest := []<-chan error{a.ship(t.Context(), "b", "z"), a.ship(t.Context(), "c", "y"), a.ship(t.Context(), "b", "z"), a.ship(t.Context(), "d", "x")}
		a.were("a")
		a.end("a", nil)
		a.is(first, nil)
		a.were("b c d")
		a.end("b c d", nil)
		a.were("b")
		a.end("b", nil)
		for _, call := range rest {
			a.is(call, nil)
		}
	})
}

// Transactions that run at once have no zone in common, and nothing overtakes
// what waits for a zone there.
func TestZonesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppending(t, 2)
		calls := []<-chan error{
			a.ship(t.Context(), "a", "z"), a.ship(t.Context(), "b", "z"), a.ship(t.Context(), "c", "y"),
			a.ship(t.Context(), "d", "y", "z"), a.ship(t.Context(), "e", "y"), a.ship(t.Context(), "f", "x"),
		}
		a.were("a", "c")
		a.end("c", nil)
		a.were("f") // d waits for a, and e for d
		a.end("f", nil)
		a.end("a", nil)
		a.were("b d e")
		a.end("b d e", nil)
		for _, call := range calls {
			a.is(call, nil)
		}
	})
}

// Where a transaction fails each of its batches is tried by itself.
func TestOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppending(t, 1)
		first := a.ship(t.Context(), "a", "z")
		b, c := a.ship(t.Context(), "b", "z"), a.ship(t.Context(), "c", "z")
		a.end("a", errDisk)
		a.is(first, errDisk)
		a.end("b c", errDisk)
		a.end("b", errDisk)
		a.end("c", nil)
		a.is(b, errDisk)
		a.is(c, nil)
		a.were("a", "b c", "b", "c")
	})
}

// Who waits can leave. A transaction goes on as long as somebody wants it.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppending(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		first := a.ship(t.Context(), "a", "z")
		left, b, c := a.ship(ctx, "left", "z"), a.ship(t.Context(), "b", "z"), a.ship(t.Context(), "c", "z")
		cancel()
		synctest.Wait()
		a.is(left, context.Canceled)
		a.end("a", nil)
		a.is(first, nil)
		a.end("b c", nil)
		a.is(b, nil)
		a.is(c, nil)

		ctx, cancel = context.WithCancel(t.Context())
		first = a.ship(ctx, "a", "z")
		other, end := context.WithCancel(t.Context())
		b, c = a.ship(ctx, "b", "z"), a.ship(other, "c", "z")
		cancel()
		synctest.Wait()
		a.is(first, context.Canceled) // nobody else wanted it
		a.is(b, context.Canceled)
		end()
		synctest.Wait()
		a.is(c, context.Canceled)
		a.is(a.ship(other, "late", "z"), context.Canceled)
		a.were("a", "b c", "a", "c")

		ctx, cancel = context.WithCancel(t.Context())
		first = a.ship(t.Context(), "a", "z")
		b, c = a.ship(ctx, "b", "z"), a.ship(t.Context(), "c", "z")
		a.end("a", nil)
		a.is(first, nil)
		cancel()
		synctest.Wait()
		a.end("b c", nil) // for c; b is stored with it, and is told so
		a.is(b, nil)
		a.is(c, nil)
	})
}
