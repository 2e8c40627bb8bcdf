package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/audit/queue/natstest"
)

// requests counts the stored records of each request, and sums up the gaps. While
// the control plane is starting there are none.
func (p *plant) requests() (counts map[string]int, gaps int64) {
	p.t.Helper()
	body, err := p.client.Export(p.t.Context(), p.zone, client.AuditQuery{}, "ndjson")
	if err != nil {
		return nil, 0
	}
	defer func() { _ = body.Close() }()
	return countRequests(p.t, body)
}

// countRequests reads events as lines of JSON.
func countRequests(t *testing.T, from io.Reader) (counts map[string]int, gaps int64) {
	t.Helper()
	counts = map[string]int{}
	d := json.NewDecoder(from)
	for {
		var e struct {
			EventType string `json:"event_type"`
			RequestID string `json:"request_id"`
			Metadata  struct {
				Count int64 `json:"count"`
			} `json:"metadata_json"`
		}
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return counts, gaps
		} else if err != nil {
			t.Fatal(err)
		}
		if e.EventType == "decision" {
			counts[e.RequestID]++
		} else {
			gaps += e.Metadata.Count
		}
	}
}

// eachOnce waits until every answered decision has a record, and wants exactly
// one of each, and no gap.
func (p *plant) eachOnce(lists [][]asked, read func() (map[string]int, int64)) {
	p.t.Helper()
	answered := 0
	counts, gaps := map[string]int{}, int64(0)
	p.eventually("every answered decision has a record", func() bool {
		counts, gaps = read()
		answered = 0
		for _, list := range lists {
			for _, a := range list {
				answered++
				if counts[a.RequestID] == 0 {
					return false
				}
			}
		}
		return true
	})
	for id, n := range counts {
		if n != 1 {
			p.t.Errorf("request %s has %d records", id, n)
		}
	}
	if gaps != 0 {
		p.t.Errorf("%d records are counted as gaps", gaps)
	}
	if answered == 0 {
		p.t.Error("nothing was answered")
	}
	p.t.Logf("%d answered decisions, %d records", answered, len(counts))
}

// TestAuditThroughNATS: two control planes on one PostgreSQL share the audit that
// comes through a stream of three replicas. Under load, a server of NATS, the
// daemon and a control plane are killed again and again; then all servers of NATS
// are away at once. Every answered decision is stored once.
func TestAuditThroughNATS(t *testing.T) {
	d, err := pgtest.Own(t).Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nodes := natstest.Cluster(t)
	urls := natstest.URLs(nodes)
	p := newPlantOf(t, []string{"--store", d.URL, "--store-owner", d.OwnerURL, "--store-poll", "100ms", "--audit-nats", urls, "--audit-nats-replicas", "3"},
		[]string{"--audit-sink", "nats", "--audit-nats", urls})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	second := p.controlPlane(self, addr)
	second.start()
	t.Cleanup(second.kill)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-- second control plane\n%s", second.log.data)
		}
	})
	first, err := p.ask(t.Context(), http.DefaultClient, "read")
	if err != nil {
		t.Fatal(err)
	}
	p.eachOnce([][]asked{{first}}, p.requests)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := p.callers(ctx, 3, func(err error) {
		if errors.Is(err, errRefused) {
			t.Logf("refused: %v", err) // which is no decision
		}
	})
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	random := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	// When exactly the kill comes is what is left to chance.
	pause := func() { time.Sleep(time.Duration(100+random.IntN(500)) * time.Millisecond) }
	for round := range rounds {
		node := nodes[round%len(nodes)]
		node.Kill()
		pause()
		p.daemon.kill()
		p.daemon.start()
		pause()
		plane := []*process{p.admin, second}[round%2]
		plane.kill()
		pause()
		plane.start()
		node.Start()
		pause()
	}
	p.waitReady()
	cancel()
	lists := answers()
	p.eachOnce(lists, p.requests)

	// Without NATS decisions go on.
	for _, node := range nodes {
		node.Kill()
	}
	var away []asked
	for range 100 {
		a, err := p.ask(t.Context(), http.DefaultClient, "read")
		if err != nil {
			t.Fatalf("while NATS is away: %v", err)
		}
		away = append(away, a)
	}
	for _, node := range nodes {
		node.Start()
	}
	p.eachOnce(append(lists, away), p.requests)
	p.daemon.stop()
	second.stop()
	p.admin.stop()
}

// TestAuditToFiles: a daemon that writes its audit to files is killed again and
// again under load. Every answered decision is in the files, once.
func TestAuditToFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.ndjson")
	p := newPlantOf(t, nil, []string{"--audit-sink", "file", "--audit-file", file, "--audit-file-max-bytes", "50000"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := p.callers(ctx, 3, func(error) {})
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	random := rand.New(rand.NewPCG(6, uint64(time.Now().UnixNano())))
	for range rounds {
		time.Sleep(time.Duration(100+random.IntN(400)) * time.Millisecond) // left to chance
		p.daemon.kill()
		p.daemon.start()
	}
	p.waitReady()
	cancel()
	lists := answers()
	p.daemon.stop()
	files, err := filepath.Glob(filepath.Join(dir, "audit*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 3 {
		t.Errorf("only %v: nothing was rotated", files)
	}
	p.eachOnce(lists, func() (map[string]int, int64) {
		var all strings.Builder
		for _, name := range files {
			readAll(t, name, &all)
		}
		return countRequests(t, strings.NewReader(all.String()))
	})
	p.admin.stop()
}

// readAll appends what a file of audit has, compressed or not.
func readAll(t *testing.T, name string, to io.Writer) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var from io.Reader = bufio.NewReader(f)
	switch filepath.Ext(name) {
	case ".gz":
		if from, err = gzip.NewReader(from); err != nil {
			t.Fatal(err)
		}
	case ".ndjson":
	default:
		return
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
}
