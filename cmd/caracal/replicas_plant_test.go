package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/bundle"
)

// replicas are control planes as processes of their own on one PostgreSQL.
type replicas struct {
	t         *testing.T
	store     pgtest.Database
	processes []*process
	urls      []string
	clients   []*client.Client
	token     string
}

// newReplicas builds caracal and starts n of them, each with args added to its
// command line. They are given no token: they share the one that the first makes.
func newReplicas(t *testing.T, n int, args ...string) *replicas {
	t.Helper()
	d, err := pgtest.Own(t).Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "caracal")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building caracal: %v\n%s", err, out)
	}
	r := &replicas{t: t, store: d}
	for i := range n {
		addr, err := freeAddr()
		if err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(dir, fmt.Sprint("replica-", i))
		p := &process{t: t, name: fmt.Sprint("replica ", i), log: &tail{}, make: func() *exec.Cmd {
			cmd := exec.Command(binary, append([]string{"admin", "--admin-addr", addr, "--data-dir", data, "--store", d.URL, "--store-owner", d.OwnerURL}, args...)...)
			return cmd
		}}
		r.processes, r.urls = append(r.processes, p), append(r.urls, "http://"+addr)
		p.start()
		t.Cleanup(p.kill)
	}
	for i := range n {
		r.waitReady(i)
		token, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("replica-", i), "admin-token"))
		if err != nil {
			t.Fatal(err)
		}
		token = bytes.TrimSpace(token)
		if i > 0 && r.token != string(token) {
			t.Fatal("replicas have tokens of their own")
		}
		r.token = string(token)
		c, err := client.New(r.urls[i], r.token)
		if err != nil {
			t.Fatal(err)
		}
		r.clients = append(r.clients, c)
	}
	return r
}

// waitReady waits until a replica is ready.
func (r *replicas) waitReady(i int) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		resp, err := http.Get(r.urls[i] + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatalf("replica %d is not ready: %v\n%s", i, err, r.processes[i].log.data)
		}
	}
}

// caller makes calls at one replica after the other, like a client behind a
// balancer whose connections break.
type caller struct {
	urls  []string
	token string
	at    int
	http  *http.Client
}

func (r *replicas) caller(at int) *caller {
	return &caller{urls: r.urls, token: r.token, at: at, http: &http.Client{Transport: &http.Transport{}, Timeout: 90 * time.Second}}
}

// call makes one call at the replica in turn; when that fails the next has its turn.
func (c *caller) call(ctx context.Context, method, path, key string, body, into any) (status int, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil || status >= 500 {
			c.at++
		}
	}()
	req, err := http.NewRequestWithContext(ctx, method, c.urls[c.at%len(c.urls)]+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 500 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	if len(answer) > 0 && into != nil {
		err = json.Unmarshal(answer, into)
	}
	return resp.StatusCode, err
}

// write makes a write until a replica acknowledges it, with one Idempotency-Key
// whichever replica is asked.
func (c *caller) write(ctx context.Context, path string, body, into any) error {
	key := uuid.NewString()
	for {
		status, err := c.call(ctx, http.MethodPost, path, key, body, into)
		switch {
		case err == nil && status < 300:
			return nil
		case err == nil:
			return fmt.Errorf("%s: %d", path, status)
		case ctx.Err() != nil:
			return err
		}
	}
}

// follower watches a zone as a daemon does, and keeps when it was told of what.
type follower struct {
	zone string
	mu   sync.Mutex
	seen []sighting
}

type sighting struct {
	sequence int64
	at       time.Time
}

// follow watches until ctx ends, with polls so long that one that is not woken
// shows.
func (f *follower) follow(ctx context.Context, c *caller) error {
	last := int64(-1)
	for ctx.Err() == nil {
		zones, err := bundle.SomeZones(map[string]int64{f.zone: last})
		if err != nil {
			return err
		}
		var answer bundle.WatchResponse
		status, err := c.call(ctx, http.MethodPost, "/v1/pointers/watch", "", bundle.WatchRequest{Zones: zones, WaitSeconds: 60}, &answer)
		switch {
		case err != nil:
			continue // the next replica
		case status == http.StatusNoContent:
		case status != http.StatusOK:
			return fmt.Errorf("a watch is answered %d", status)
		}
		for _, p := range answer.Pointers {
			if p.Sequence < last {
				return fmt.Errorf("a watcher of zone %s is told of sequence %d after %d", f.zone, p.Sequence, last)
			}
			last = p.Sequence
			f.mu.Lock()
			f.seen = append(f.seen, sighting{last, time.Now()})
			f.mu.Unlock()
		}
	}
	return nil
}

// told is when the follower knew of a sequence, or of a later one.
func (f *follower) told(sequence int64) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if s.sequence >= sequence {
			return s.at, true
		}
	}
	return time.Time{}, false
}
