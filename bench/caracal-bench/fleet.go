package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/caracalai/caracald/bench/pinning"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
	"github.com/caracalai/caracald/bundle"
)

const (
	// fleetRounds is how many activations all watchers are told of.
	fleetRounds = 3
	// fleetPatience bounds how long watchers are waited for; one that was not
	// told of a change by then missed it.
	fleetPatience = 45 * time.Second
	// fleetGathering bounds how long it may take until all wait, or are back.
	fleetGathering = 3 * time.Minute
	// fleetFiles is how many files either process has open beside the connections.
	fleetFiles = 200
)

// fleetResult is what --fleet prints. Bytes are of the control plane's process,
// which does nothing else; what the kernel keeps for each connection is not among them.
type fleetResult struct {
	Watchers int `json:"watchers"`
	// Protocol is what the watchers speak.
	Protocol string `json:"protocol"`
	// Pinned tells on which processors the control plane and the watchers ran.
	Pinned string `json:"pinned"`
	// BytesPerWatcher is by how much the resident memory grew for each waiting
	// watcher, after a garbage collection; Heap and Stack are parts of it, Peak is
	// what it grew by at most in the whole run, with all that was answered.
	BytesPerWatcher      int64 `json:"bytes_per_watcher"`
	HeapBytesPerWatcher  int64 `json:"heap_bytes_per_watcher"`
	StackBytesPerWatcher int64 `json:"stack_bytes_per_watcher"`
	PeakBytesPerWatcher  int64 `json:"peak_bytes_per_watcher"`
	// ConnectedMS is how long it took until all were connected, with the handshakes of TLS, and waited.
	ConnectedMS float64 `json:"connected_ms"`
	// ConnectedProcessorMS is the processor time that the control plane took for that, which
	// a busy machine does not make longer as it does the rest.
	ConnectedProcessorMS float64 `json:"connected_processor_ms"`
	// LastNotifiedMS is from before the activation's call until the last watcher
	// had its answer: the worst of the rounds. LastFetchedMS is until the last had
	// the bundle too.
	LastNotifiedMS float64 `json:"last_notified_ms"`
	LastFetchedMS  float64 `json:"last_fetched_ms"`
	// SpreadMS is the time that watchers were told to spread over.
	SpreadMS float64 `json:"spread_ms"`
	// PeakFetches is how many bundle fetches were under way at once.
	PeakFetches int `json:"peak_fetches"`
	// ReconnectedMS is from when the control plane, killed and started again, was
	// ready until the last watcher was told of what was activated meanwhile.
	ReconnectedMS float64 `json:"reconnected_ms"`
	// ReconnectedProcessorMS is what the control plane took for that, its start and the bundles included.
	ReconnectedProcessorMS float64 `json:"reconnected_processor_ms"`
	// Missed is how many times a watcher was not told of a change.
	Missed int `json:"missed"`
	// Failed counts polls and fetches that failed while the control plane was up.
	Failed  int64   `json:"failed"`
	Seconds float64 `json:"seconds"`
}

// runFleet measures one control plane with many watchers, which are connections
// of this process. Each does what a daemon does: polls, spreads, fetches the
// bundle, polls again, and comes back in growing, random pauses where its
// connection broke.
func runFleet(ctx context.Context, o options, out, log io.Writer) (err error) {
	if o.fleetSize < 1 {
		return fmt.Errorf("%w: --watchers %d: at least one is needed", errUsage, o.fleetSize)
	}
	// The Go runtime raised the limit to the most that the process may.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && uint64(files.Cur) < uint64(o.fleetSize)+fleetFiles {
		return fmt.Errorf("%d watchers need %d open files, and %d are allowed (ulimit -n)", o.fleetSize, o.fleetSize+fleetFiles, files.Cur)
	}
	start := time.Now()
	dir, err := os.MkdirTemp(o.dir, "caracal-fleet-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	split, release, err := pinned()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	f := &watching{log: log, size: o.fleetSize, split: split, result: fleetResult{Watchers: o.fleetSize, Pinned: split.String()}, admin: server.Admin{Dir: filepath.Join(dir, "admin"), Batches: server.BatchesStored}}
	if o.fleetTLS {
		if f.admin.TLS, err = server.NewCertificate(); err != nil {
			return err
		}
	}
	if err := f.measure(ctx); err != nil {
		return err
	}
	r := f.result
	r.Seconds = time.Since(start).Seconds()
	var missed error
	if r.Missed > 0 {
		missed = fmt.Errorf("watchers missed %d changes", r.Missed)
	}
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return errors.Join(e.Encode(r), missed)
	}
	_, err = fmt.Fprintf(out, `%d watchers of one control plane, over %s, %s
  memory of each            %d bytes (heap %d, stacks %d; at the peak %d)
  all connected in          %.0f ms (%.0f ms of the control plane's processor time)
  the last one told after   %.0f ms, and with the bundle after %.0f ms (told to spread over %.0f ms, %d fetches at once)
  all back after a kill in  %.0f ms (%.0f ms of it)
  missed changes            %d
`, r.Watchers, r.Protocol, r.Pinned, r.BytesPerWatcher, r.HeapBytesPerWatcher, r.StackBytesPerWatcher, r.PeakBytesPerWatcher, r.ConnectedMS, r.ConnectedProcessorMS, r.LastNotifiedMS, r.LastFetchedMS,
		r.SpreadMS, r.PeakFetches, r.ReconnectedMS, r.ReconnectedProcessorMS, r.Missed)
	return errors.Join(err, missed)
}

// watching is a run.
type watching struct {
	log     io.Writer
	size    int
	split   pinning.Split
	result  fleetResult
	admin   server.Admin
	control *server.Control
	zone    *server.Zone
	crowd   *crowd
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (f *watching) say(format string, args ...any) { _, _ = fmt.Fprintf(f.log, format+"\n", args...) }

func (f *watching) measure(ctx context.Context) (err error) {
	if f.control, err = server.StartAdmin(ctx, f.admin, f.split.Servers); err != nil {
		return err
	}
	defer func() {
		if f.control != nil {
			err = errors.Join(err, f.control.Stop())
		}
	}()
	if f.zone, err = f.control.NewZone(ctx, "watched"); err != nil {
		return err
	}
	versions := make([]server.Version, fleetRounds+2)
	for i := range versions {
		if versions[i], err = f.zone.Publish(ctx, workload.Variant(fmt.Sprintf("watched-%d", i))); err != nil {
			return err
		}
	}
	f.admin.Addr, f.admin.TLSAddr = f.control.Ready.Addr, f.control.Ready.TLSAddr
	trust, err := bundle.LoadTrust(f.control.Ready.Trust)
	if err != nil {
		return err
	}
	addr, secure := f.control.Ready.Addr, (*tls.Config)(nil)
	if f.admin.TLS != nil {
		addr = f.control.Ready.TLSAddr
		if secure, err = f.admin.TLS.Client(); err != nil {
			return err
		}
	}
	f.crowd = newCrowd(addr, secure, f.control.Daemon, f.zone.ID, trust)
	if err := waiting(ctx, f.control, 0); err != nil { // its metrics were read once, and all that needs is there
		return err
	}
	before, err := f.control.Collect()
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	begun := time.Now()
	for i := range f.size {
		watchers.Go(func() { f.crowd.follow(following, i) })
	}
	if err := f.allWait(ctx); err != nil {
		return err
	}
	f.result.ConnectedMS = milliseconds(time.Since(begun))
	after, err := f.control.Collect()
	if err != nil {
		return err
	}
	f.result.ConnectedProcessorMS = milliseconds(after.Processor - before.Processor)
	each := func(a, b int64) int64 { return (b - a) / int64(f.size) }
	f.result.BytesPerWatcher = each(before.Resident, after.Resident)
	f.result.HeapBytesPerWatcher, f.result.StackBytesPerWatcher = each(before.Heap, after.Heap), each(before.Stacks, after.Stacks)
	f.say("%d watchers wait, %d bytes each", f.size, f.result.BytesPerWatcher)
	for i := range fleetRounds {
		if err := f.round(ctx, versions[i]); err != nil {
			return err
		}
	}
	most, err := f.control.Stats()
	if err != nil {
		return err
	}
	f.result.PeakBytesPerWatcher = each(before.Resident, most.Peak)
	if err := f.comeBack(ctx, versions[fleetRounds]); err != nil {
		return err
	}
	if err := f.round(ctx, versions[fleetRounds+1]); err != nil { // all are as they were
		return err
	}
	f.result.PeakFetches, f.result.SpreadMS = int(f.crowd.peak.Load()), float64(f.crowd.spread.Load())
	f.result.Failed = f.crowd.failed.Load()
	if spoken := f.crowd.protocol.Load(); spoken != nil {
		f.result.Protocol = *spoken
	}
	return nil
}

// allWait waits until all polls are open.
func (f *watching) allWait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fleetGathering)
	defer cancel()
	for {
		m, err := server.Metrics(ctx, f.control.Ready.Addr)
		if err != nil {
			return fmt.Errorf("waiting for %d watchers: %w", f.size, err)
		}
		if int(m["caracal_admin_watchers"]) >= f.size {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.0f of %d watchers wait: %w", m["caracal_admin_watchers"], f.size, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// round activates a version while all wait.
func (f *watching) round(ctx context.Context, v server.Version) error {
	if err := f.allWait(ctx); err != nil {
		return err
	}
	start := time.Now()
	sequence, err := f.zone.Activate(ctx, v)
	if err != nil {
		return err
	}
	told, fetched := f.crowd.await(ctx, sequence, f.size, fleetPatience)
	f.count(told)
	f.result.LastNotifiedMS = max(f.result.LastNotifiedMS, milliseconds(told.last.Sub(start)))
	f.result.LastFetchedMS = max(f.result.LastFetchedMS, milliseconds(fetched.last.Sub(start)))
	f.say("sequence %d: %d told in %v, %d fetched in %v", sequence, told.count, told.last.Sub(start).Round(time.Millisecond), fetched.count, fetched.last.Sub(start).Round(time.Millisecond))
	return ctx.Err()
}

func (f *watching) count(told tally) { f.result.Missed += f.size - told.count }

// comeBack kills the control plane, starts it again, and activates a version
// while all watchers reconnect.
func (f *watching) comeBack(ctx context.Context, v server.Version) (err error) {
	if err := f.allWait(ctx); err != nil {
		return err
	}
	f.crowd.down.Store(true)
	if err := f.control.Kill(); err != nil {
		return err
	}
	f.control = nil
	if f.control, err = server.StartAdmin(ctx, f.admin, f.split.Servers); err != nil {
		return err
	}
	ready := time.Now()
	sequence, err := f.zone.Activate(ctx, v)
	if err != nil {
		return err
	}
	told, fetched := f.crowd.await(ctx, sequence, f.size, fleetGathering)
	f.crowd.down.Store(false)
	f.count(told)
	f.result.ReconnectedMS = milliseconds(told.last.Sub(ready))
	used, err := f.control.Stats()
	if err != nil {
		return err
	}
	f.result.ReconnectedProcessorMS = milliseconds(used.Processor)
	f.say("after a kill: %d told in %v, %d fetched in %v; %d attempts failed", told.count, told.last.Sub(ready).Round(time.Millisecond), fetched.count,
		fetched.last.Sub(ready).Round(time.Millisecond), f.crowd.broken.Load())
	return ctx.Err()
}
