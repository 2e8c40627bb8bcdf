package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// fleet takes in what daemons report.
//
// A report that says something new is stored before it is answered, many in one
// transaction where many come at once. One that says what is stored already, a
// heartbeat, is answered from memory: when the daemon was seen, and what changes
// with each heartbeat, is gathered and written about once a second for all. What
// is lost of that in a kill, the next heartbeat brings again.
//
// What this process believes to be stored is checked as it is written: a
// heartbeat only counts where the stored daemon has the same owner and digest,
// so that another control plane's writes are noticed and the report is then
// stored whole. A report that builds on a base (see revision.go) is refused then,
// and the daemon sends a whole one.
type fleet struct {
	store store.Store
	log   *slog.Logger
	now   func() time.Time
	// timeout is after how long without a report a daemon is unreachable.
	timeout time.Duration
	// began is when this process began: before daemons had time to report to it, none is forgotten.
	began time.Time
	// gathers tells whether somebody flushes; otherwise nothing is gathered.
	gathers *atomic.Bool

	mu    sync.Mutex
	known map[string]knownDaemon
	// queue waits to be stored, beats to be noted; leading tells that somebody does both.
	queue   []*incoming
	beats   map[string]*incoming
	leading bool

	counting sync.Mutex
	counted  time.Time
	counts   map[string]int
}

// knownDaemon is what is stored of a daemon, as far as this process knows.
type knownDaemon struct {
	owner  string
	digest digest
	// seen is the newest time that is stored or gathered, stored when all was last stored whole.
	seen, stored time.Time
	// checked is when the owner was last read, for calls that store nothing of the daemon.
	checked time.Time
	// zones counts those that are reported, failed are those of them that could not be loaded.
	zones  int
	failed map[string]bool
}

// incoming is a report on its way to the store. A nil report only binds the daemon.
type incoming struct {
	actor  actor
	daemon string
	report *bundle.ReceiptReport
	digest digest
	status json.RawMessage
	at     time.Time
	done   chan error
	// added counts the zones that were not stored before.
	added int
}

const (
	// fleetFlush is how often heartbeats are written. A short timeout shortens it.
	fleetFlush = time.Second
	// fleetBatch is how many reports are stored in one transaction.
	fleetBatch = 256
	// ownerFresh is how long an owner that was read is believed where nothing is written.
	ownerFresh = time.Minute
	// restoreAfter and dropAfter are in heartbeat timeouts: how old what is stored of a receipt
	// may get before it is stored anew, and after how long without that the daemon is taken not
	// to report for the zone any more.
	restoreAfter, dropAfter = 10, 30
	// fleetTimeout bounds one transaction.
	fleetTimeout = 30 * time.Second
	// forgetBatch is how many daemons are forgotten in one transaction.
	forgetBatch = 100
)

func newFleet(st store.Store, log *slog.Logger, now func() time.Time, timeout time.Duration, gathers *atomic.Bool) *fleet {
	return &fleet{store: st, log: log, now: now, timeout: timeout, began: now(), gathers: gathers, known: map[string]knownDaemon{}, beats: map[string]*incoming{}}
}

// flushEvery is the time between two writes of heartbeats.
func (f *fleet) flushEvery() time.Duration { return min(fleetFlush, f.timeout/10) }

// serves tells whether a daemon says that it can serve; one that says nothing can.
func serves(s *bundle.DaemonStatus) bool { return s == nil || s.Ready && s.AuditKept }

// report takes a checked report in. It returns when what is new in it is durable.
func (f *fleet) report(ctx context.Context, a actor, r *bundle.ReceiptReport, now time.Time) (taken, error) {
	in := &incoming{actor: a, daemon: r.DaemonID, report: r, at: now, done: make(chan error, 1)}
	var err error
	if in.digest, err = digestOf(r); err != nil {
		return taken{}, err
	}
	if in.status, err = json.Marshal(r.Status); err != nil {
		return taken{}, fmt.Errorf("encoding the status of daemon %s: %w", r.DaemonID, err)
	}
	f.mu.Lock()
	k, ok := f.known[in.daemon]
	mine := ok && k.owner == a.id && now.Sub(k.stored) < restoreAfter*f.timeout
	if mine && f.gathers.Load() && k.digest == in.digest && now.Sub(k.seen) < f.timeout/2 {
		k.seen = now
		f.known[in.daemon], f.beats[in.daemon] = k, in
		defer f.mu.Unlock()
		return f.taken(in, k), nil
	}
	if r.Base != "" && !(mine && k.digest.zones == r.Base) {
		f.mu.Unlock()
		return taken{}, errUnknownBase
	}
	delete(f.beats, in.daemon) // what is stored now is newer
	f.mu.Unlock()
	if err := f.put(ctx, in); err != nil {
		return taken{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken(in, f.known[in.daemon]), nil
}

// bind makes sure that the actor may speak for a daemon, and that nobody else
// may from now on.
func (f *fleet) bind(ctx context.Context, a actor, daemon string, now time.Time) error {
	f.mu.Lock()
	k, ok := f.known[daemon]
	f.mu.Unlock()
	if ok && k.owner == a.id && now.Sub(k.checked) < ownerFresh {
		return nil
	}
	var d store.Daemon
	err := f.store.View(ctx, func(tx store.Reader) (err error) {
		d, err = tx.Daemon(ctx, daemon)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading daemon %s: %w", daemon, err)
	}
	if err == nil && d.Owner == a.id {
		f.mu.Lock()
		k := f.known[daemon]
		k.owner, k.checked = a.id, now
		f.known[daemon] = k
		f.mu.Unlock()
		return nil
	}
	return f.put(ctx, &incoming{actor: a, daemon: daemon, at: now, done: make(chan error, 1)})
}

// put stores a report together with those that came meanwhile.
func (f *fleet) put(ctx context.Context, in *incoming) error {
	f.mu.Lock()
	f.queue = append(f.queue, in)
	lead := !f.leading
	f.leading = true
	f.mu.Unlock()
	if lead {
		go f.lead(ctx) // which may go on for others
	}
	select {
	case err := <-in.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush writes the heartbeats that were gathered.
func (f *fleet) flush(ctx context.Context) error {
	f.mu.Lock()
	idle := len(f.beats) == 0 && len(f.queue) == 0
	lead := !idle && !f.leading
	f.leading = f.leading || lead
	f.mu.Unlock()
	if lead {
		f.lead(ctx)
	}
	return nil
}

// lead stores all that waits, until nothing does. One goroutine leads at a time;
// the others' reports must not fail because its caller went away.
func (f *fleet) lead(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for {
		f.mu.Lock()
		if len(f.queue) == 0 && len(f.beats) == 0 {
			f.leading = false
			f.mu.Unlock()
			return
		}
		n := min(len(f.queue), fleetBatch)
		batch := slices.Clone(f.queue[:n])
		f.queue = slices.Delete(f.queue, 0, n)
		beats := f.beats
		f.beats = map[string]*incoming{}
		f.mu.Unlock()
		missed := f.storeBeats(ctx, beats)
		f.storeAll(ctx, append(batch, missed...))
	}
}

// storeBeats notes heartbeats. It gives back those whose daemon is stored otherwise
// than was believed.
func (f *fleet) storeBeats(ctx context.Context, beats map[string]*incoming) (missed []*incoming) {
	if len(beats) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	all := make([]*incoming, 0, len(beats))
	for _, in := range beats {
		all = append(all, in)
	}
	// One order for everybody: control planes that note the same daemons do not lock each other out.
	slices.SortFunc(all, func(a, b *incoming) int { return cmp.Compare(a.daemon, b.daemon) })
	err := f.store.Update(ctx, func(tx store.Tx) error {
		missed = nil
		for chunk := range slices.Chunk(all, fleetBatch) {
			seen := make([]store.Seen, len(chunk))
			for i, in := range chunk {
				seen[i] = store.Seen{ID: in.daemon, Owner: in.actor.id, Digest: in.digest.String(), At: in.at, Status: in.status}
			}
			n, err := tx.SeeDaemons(ctx, seen)
			if err != nil {
				return err
			}
			if n < int64(len(chunk)) { // which ones cannot be told, and it happens seldom
				missed = append(missed, chunk...)
			}
		}
		return nil
	})
	if err != nil {
		// The next heartbeat brings it again, and until then nothing is believed.
		f.log.Error("heartbeats could not be stored", "daemons", len(all), "error", err)
		f.forget(all)
		return nil
	}
	return missed
}

// forget makes the next report of daemons be stored whole.
func (f *fleet) forget(all []*incoming) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range all {
		delete(f.known, in.daemon)
	}
}

// storeAll stores reports and tells those who wait. What the database refuses
// fails the whole transaction, so then each is tried by itself.
func (f *fleet) storeAll(ctx context.Context, batch []*incoming) {
	if len(batch) == 0 {
		return
	}
	outcomes, err := f.storeBatch(ctx, batch)
	if err != nil && len(batch) > 1 {
		for _, in := range batch {
			f.storeAll(ctx, []*incoming{in})
		}
		return
	}
	if err != nil {
		f.forget(batch)
		batch[0].done <- err
		return
	}
	for i, in := range batch {
		in.done <- outcomes[i]
	}
}

func (f *fleet) storeBatch(ctx context.Context, batch []*incoming) ([]error, error) {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	outcomes := make([]error, len(batch))
	err := f.store.Update(ctx, func(tx store.Tx) error {
		for i, in := range batch {
			outcomes[i] = nil
			err := f.storeOne(ctx, tx, in)
			var refused *problem
			if errors.As(err, &refused) { // before anything was written of it
				outcomes[i], err = err, nil
			}
			if err != nil {
				return fmt.Errorf("storing daemon %s: %w", in.daemon, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, in := range batch {
		switch k, ok := f.known[in.daemon]; {
		case errors.Is(outcomes[i], errUnknownBase): // what was believed is not what is stored
			delete(f.known, in.daemon)
		case outcomes[i] != nil: // what the owner reports is not touched by it
		case in.report != nil:
			f.known[in.daemon] = in.after(k)
		case ok && k.owner == in.actor.id:
			k.checked = in.at
			f.known[in.daemon] = k
		default:
			f.known[in.daemon] = knownDaemon{owner: in.actor.id, checked: in.at}
		}
	}
	return outcomes, nil
}

// storeOne stores what is new in a report.
func (f *fleet) storeOne(ctx context.Context, tx store.Tx, in *incoming) error {
	d, err := tx.Daemon(ctx, in.daemon)
	unknown := errors.Is(err, store.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	if unknown {
		d = store.Daemon{ID: in.daemon, FirstSeenAt: in.at, LastSeenAt: in.at}
	}
	if err := mayReport(ctx, tx, in.actor, d, f.now()); err != nil {
		return err
	}
	if in.report == nil {
		d.Owner = in.actor.id
		return tx.PutDaemon(ctx, d)
	}
	if in.report.Base != "" && (unknown || d.RetiredAt != nil || readDigest(d.Digest).zones != in.report.Base) {
		return errUnknownBase
	}
	if !unknown && in.at.Before(d.LastSeenAt) && d.RetiredAt == nil {
		return nil // another control plane has stored a newer one meanwhile
	}
	r := in.report
	d.Name, d.Version, d.Labels, d.Owner, d.Digest, d.Status, d.LastSeenAt, d.RetiredAt = r.Name, r.Version, r.Labels, in.actor.id, in.digest.String(), in.status, in.at, nil
	switch {
	case serves(r.Status):
		d.FailingSince = nil
	case d.FailingSince == nil:
		d.FailingSince = &in.at
	}
	if err := tx.PutDaemon(ctx, d); err != nil {
		return err
	}
	return f.storeReceipts(ctx, tx, in)
}

// storeReceipts stores the receipts that differ from the stored ones, or that
// were not stored for long.
func (f *fleet) storeReceipts(ctx context.Context, tx store.Tx, in *incoming) error {
	in.added = 0 // a transaction may run again
	stored, err := storedReceipts(ctx, tx, in)
	if err != nil {
		return err
	}
	for _, z := range in.report.Zones {
		r := store.Receipt{
			DaemonID: in.daemon, ZoneID: z.ZoneID, State: z.State, Sequence: z.Sequence, VersionID: z.PolicySetVersionID,
			ManifestSHA256: z.ManifestSHA256, BundleSHA256: z.BundleSHA256, LoadedAt: z.LoadedAt.UTC(), Detail: shorten(z.Detail, maxDetail),
			ServingSequence: z.ServingSequence, ServingVersionID: z.ServingVersionID, Since: in.at, ReportedAt: in.at,
		}
		old, ok := stored[z.ZoneID]
		if !ok {
			in.added++
		}
		delete(stored, z.ZoneID)
		if ok && sameReceipt(old, r) {
			if in.at.Sub(old.ReportedAt) < restoreAfter*f.timeout/2 {
				continue
			}
			r.Since = old.Since
		}
		if err := tx.PutReceipt(ctx, r); err != nil {
			return fmt.Errorf("storing the receipt for zone %s: %w", z.ZoneID, err)
		}
	}
	if !in.report.Complete {
		return nil
	}
	for zone := range stored {
		if err := tx.DeleteReceipt(ctx, in.daemon, zone); err != nil {
			return fmt.Errorf("removing the receipt for zone %s: %w", zone, err)
		}
	}
	return nil
}

// sameReceipt tells whether two receipts report the same.
func sameReceipt(a, b store.Receipt) bool {
	same := func(x, y *string) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return a.State == b.State && a.Sequence == b.Sequence && same(a.VersionID, b.VersionID) && a.ManifestSHA256 == b.ManifestSHA256 &&
		a.BundleSHA256 == b.BundleSHA256 && a.LoadedAt.Equal(b.LoadedAt.Truncate(time.Microsecond)) && a.Detail == b.Detail &&
		a.ServingSequence == b.ServingSequence && same(a.ServingVersionID, b.ServingVersionID)
}

// mayReport refuses an actor that is not the daemon's owner, unless the daemon
// has none or the owner is a token that is good no more.
func mayReport(ctx context.Context, tx store.Reader, a actor, d store.Daemon, now time.Time) error {
	if d.Owner == "" || d.Owner == a.id {
		return nil
	}
	owner, err := tx.Token(ctx, d.Owner)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound): // a certificate, or the built-in token
		return fmt.Errorf("reading the token of daemon %s: %w", d.ID, err)
	case err == nil && (owner.RevokedAt != nil || owner.ExpiresAt != nil && !owner.ExpiresAt.After(now)):
		return nil
	}
	return refuse(http.StatusForbidden, "daemon_taken",
		"daemon %s belongs to another token or certificate; revoke that token or retire the daemon, and the next one to report takes it over", d.ID)
}

// retired forgets what is known of a daemon that was retired.
func (f *fleet) retired(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, id)
	delete(f.beats, id)
}

// tidy removes the receipts for zones that daemons report for no more, and the
// daemons that were not seen since a time.
func (f *fleet) tidy(ctx context.Context, before time.Time) error {
	var stale []store.Receipt
	err := f.store.View(ctx, func(tx store.Reader) (err error) {
		stale, err = tx.StaleReceipts(ctx, dropAfter*f.timeout, 1000)
		return err
	})
	if err == nil && len(stale) > 0 {
		err = f.store.Update(ctx, func(tx store.Tx) error {
			for _, r := range stale {
				if err := tx.DeleteReceipt(ctx, r.DaemonID, r.ZoneID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("removing stale receipts: %w", err)
	}
	for f.now().Sub(f.began) > 2*f.timeout {
		gone := int64(0)
		err := f.store.Update(ctx, func(tx store.Tx) (err error) {
			gone, err = tx.ForgetDaemons(ctx, before, forgetBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("forgetting daemons: %w", err)
		}
		if gone > 0 {
			f.log.Info("daemons that have not reported for long are forgotten", "daemons", gone)
		}
		if gone < forgetBatch {
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, k := range f.known { // what is not known is read again
		if f.now().Sub(k.seen) > 2*f.timeout && f.now().Sub(k.checked) > 2*ownerFresh {
			delete(f.known, id)
		}
	}
	return nil
}

// states counts the daemons by state, for the metrics; a count is good for a
// fifth of the heartbeat timeout.
func (f *fleet) states(ctx context.Context) (map[string]int, error) {
	f.counting.Lock()
	defer f.counting.Unlock()
	now := f.now()
	if f.counts != nil && now.Sub(f.counted) < f.timeout/5 {
		return f.counts, nil
	}
	counts := map[string]int{store.DaemonHealthy: 0, store.DaemonLagging: 0, store.DaemonFailing: 0, store.DaemonUnreachable: 0}
	err := f.store.View(ctx, func(tx store.Reader) error {
		list, err := tx.CountDaemons(ctx, store.DaemonQuery{SilentBefore: now.Add(-f.timeout)})
		for _, c := range list {
			counts[c.State] += c.Daemons
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting the daemons: %w", err)
	}
	f.counts, f.counted = counts, now
	return counts, nil
}
