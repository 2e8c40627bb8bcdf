package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/bundle"
)

const (
	// crowdRetry and crowdRetryMax bound the pauses before a watcher connects
	// again: a daemon's defaults.
	crowdRetry    = 100 * time.Millisecond
	crowdRetryMax = 15 * time.Second
	// crowdSources is how many loopback addresses connections come from, so that
	// their ports do not run out.
	crowdSources = 4
)

// line is a watcher's connection to the control plane.
type line interface {
	// call makes one call; an error means that the line is broken.
	call(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)
	close()
}

// crowd are watchers of one zone.
type crowd struct {
	addr, token, zone string
	// secure is nil for HTTP/1.1 in the clear.
	secure *tls.Config
	trust  *bundle.Trust
	// dials bounds connections that are being made at once.
	dials chan struct{}

	// down is set while the control plane may be away; broken counts what fails then.
	down           atomic.Bool
	broken         atomic.Int64
	failed         atomic.Int64
	protocol       atomic.Pointer[string] // what was spoken, once it was
	spread         atomic.Int64           // the most that was told, in milliseconds
	fetching, peak atomic.Int64           // fetches under way, and the most there were

	mu            sync.Mutex
	changed       *sync.Cond
	told, fetched map[int64]tally  // by sequence
	bundles       map[int64]string // hashes, by sequence
}

// tally counts watchers, and keeps when the last one was counted.
type tally struct {
	count int
	last  time.Time
}

func newCrowd(addr string, secure *tls.Config, token, zone string, trust *bundle.Trust) *crowd {
	c := &crowd{addr: addr, secure: secure, token: token, zone: zone, trust: trust, bundles: map[int64]string{}, dials: make(chan struct{}, 4*watchDials), told: map[int64]tally{}, fetched: map[int64]tally{}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *crowd) note(what map[int64]tally, sequence int64) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := what[sequence]
	what[sequence] = tally{t.count + 1, now}
	c.changed.Broadcast()
}

// await waits until so many were told of a sequence and fetched its bundle, or
// patience ends.
func (c *crowd) await(ctx context.Context, sequence int64, count int, patience time.Duration) (told, fetched tally) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for ctx.Err() == nil && (c.told[sequence].count < count || c.fetched[sequence].count < count) {
		c.changed.Wait()
	}
	return c.told[sequence], c.fetched[sequence]
}

// follow is one watcher, until ctx ends.
func (c *crowd) follow(ctx context.Context, n int) {
	sequence, pause := int64(-1), crowdRetry
	for ctx.Err() == nil {
		err := c.connection(ctx, n, &sequence, func() { pause = crowdRetry })
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
		case c.down.Load():
			c.broken.Add(1)
		default:
			c.failed.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, crowdRetryMax)
	}
}

// dial connects from one of several addresses.
func (c *crowd) dial(ctx context.Context, n int) (net.Conn, error) {
	select {
	case c.dials <- struct{}{}:
		defer func() { <-c.dials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c.dialNow(ctx, n)
}

// handshake connects and shakes hands.
func (c *crowd) handshake(ctx context.Context, n int, config *tls.Config) (net.Conn, error) {
	select {
	case c.dials <- struct{}{}:
		defer func() { <-c.dials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	raw, err := c.dialNow(ctx, n)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	// A daemon's patience.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

func (c *crowd) dialNow(ctx context.Context, n int) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if runtime.GOOS == "linux" { // where all of 127.0.0.0/8 is loopback
		// None is the control plane's own address: while that is down, a watcher could take its port.
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%crowdSources))}
	}
	return d.DialContext(ctx, "tcp", c.addr)
}

// open makes a watcher's line.
func (c *crowd) open(ctx context.Context, n int) (line, error) {
	if c.secure != nil {
		return newSecureLine(c, n), nil
	}
	conn, err := c.dial(ctx, n)
	if err != nil {
		return nil, err
	}
	return &clearLine{crowd: c, conn: conn, in: bufio.NewReaderSize(conn, 1024)}, nil
}

// connection polls and fetches on one line until that breaks.
func (c *crowd) connection(ctx context.Context, n int, sequence *int64, works func()) error {
	conn, err := c.open(ctx, n)
	if err != nil {
		return err
	}
	defer conn.close()
	defer context.AfterFunc(ctx, conn.close)()
	for {
		told, err := c.poll(ctx, conn, sequence)
		if err != nil {
			return err
		}
		works()
		if told == nil {
			continue
		}
		// What a zone is born with has no bundle.
		if hash := told.hash; hash != "" {
			if told.spread > 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(rand.N(told.spread)):
				}
			}
			if err := c.fetch(ctx, conn, hash); err != nil {
				return err
			}
			c.note(c.fetched, *sequence)
		}
	}
}

// news is what a poll told.
type news struct {
	hash   string
	spread time.Duration
}

// poll makes one long poll; nil is that nothing is newer.
func (c *crowd) poll(ctx context.Context, conn line, sequence *int64) (*news, error) {
	zones, err := bundle.SomeZones(map[string]int64{c.zone: *sequence})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(bundle.WatchRequest{Zones: zones, WaitSeconds: watchWait})
	if err != nil {
		return nil, err
	}
	status, data, err := conn.call(ctx, http.MethodPost, "/v1/pointers/watch", body)
	if err != nil || status == http.StatusNoContent {
		return nil, err
	}
	var answer bundle.WatchResponse
	if status != http.StatusOK {
		return nil, fmt.Errorf("a watcher had status %d: %.200s", status, data)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("a watcher was told: %w", err)
	}
	if len(answer.Pointers) != 1 || answer.Pointers[0].ZoneID != c.zone || answer.Pointers[0].Sequence <= *sequence {
		return nil, errors.New("a watcher was told what it did not ask for")
	}
	p := answer.Pointers[0]
	*sequence = p.Sequence
	c.note(c.told, p.Sequence)
	told := &news{spread: answer.Spread()}
	for most := c.spread.Load(); answer.SpreadMS > most && !c.spread.CompareAndSwap(most, answer.SpreadMS); most = c.spread.Load() {
	}
	told.hash, err = c.bundleOf(p)
	return told, err
}

// bundleOf gives the hash of the bundle that a pointer names, "" where it names
// none. The first watcher that is told of a pointer verifies it for all: what is
// measured is the control plane.
func (c *crowd) bundleOf(p bundle.SignedPointer) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hash, ok := c.bundles[p.Sequence]; ok {
		return hash, nil
	}
	pointer, err := c.trust.VerifyPointer(p.Pointer, time.Now())
	if err != nil {
		return "", err
	}
	c.bundles[p.Sequence] = pointer.BundleSHA256
	return pointer.BundleSHA256, nil
}

// fetch gets a bundle and checks its hash.
func (c *crowd) fetch(ctx context.Context, conn line, hash string) error {
	now := c.fetching.Add(1)
	defer c.fetching.Add(-1)
	for most := c.peak.Load(); now > most && !c.peak.CompareAndSwap(most, now); most = c.peak.Load() {
	}
	status, data, err := conn.call(ctx, http.MethodGet, "/v1/bundles/"+hash, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK || bundle.SHA256Hex(data) != hash {
		return fmt.Errorf("a bundle is answered %d with %d bytes", status, len(data))
	}
	return nil
}
