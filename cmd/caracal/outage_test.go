package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
)

// With everything but the daemon down, control plane and database, decisions go
// on, also after the daemon is killed and started again. The audit of meanwhile
// drains in order afterwards: no record is lost, and none is there twice.
func TestAloneDaemon(t *testing.T) {
	c := pgtest.Own(t)
	d, err := c.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlant(t, "--store", d.URL, "--store-owner", d.OwnerURL, "--store-poll", "100ms")
	policy := ""
	v, err := p.publish(t.Context(), &policy, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.Activate(t.Context(), p.zone, p.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
		t.Fatal(err)
	}
	p.eventually("the daemon decides by the version", func() bool {
		answer, err := p.ask(t.Context(), http.DefaultClient, "read")
		return err == nil && answer.Decision == "allow"
	})
	const each = 300
	var lists [][]asked
	// decide has several callers ask, none of whom may be refused, until enough was answered.
	decide := func(when string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answered := 0
		answers := p.callers(ctx, 2, func(err error) { t.Errorf("%s a request failed: %v", when, err) })
		for ; answered < each; answered++ {
			a, err := p.ask(ctx, http.DefaultClient, "read")
			if err != nil || a.Decision != "allow" {
				t.Fatalf("%s the daemon decides %q: %v", when, a.Decision, err)
			}
			lists = append(lists, []asked{a})
		}
		cancel()
		lists = append(lists, answers()...)
	}
	decide("before")
	p.admin.kill()
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	decide("with all else down")
	p.daemon.kill()
	p.daemon.start()
	p.waitReady()
	decide("started with all else down")
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.admin.start()
	decide("afterwards")
	p.eventually("the control plane is back", func() bool {
		_, err := p.client.Active(t.Context(), p.zone)
		return err == nil
	})
	p.checkAnswers(lists, p.history())
	if _, gaps := p.events(); gaps != 0 {
		t.Errorf("%d records are counted as gaps", gaps)
	}
	p.daemon.stop() // ships what is left
	p.admin.stop()
	checkStreams(t, d.SuperURL)
}

// checkStreams checks that the records of each epoch of a daemon's spool were
// stored in their order, from the first on, each once.
func checkStreams(t *testing.T, url string) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	rows, err := db.Query(t.Context(), `SELECT stream, stream_offset FROM caracal.events ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ Stream, Offset int64 }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place])
	if err != nil {
		t.Fatal(err)
	}
	next := map[int64]int64{}
	for _, p := range list {
		if p.Offset != next[p.Stream] {
			t.Fatalf("stream %d has offset %d stored where %d belongs", p.Stream, p.Offset, next[p.Stream])
		}
		next[p.Stream]++
	}
	if len(list) == 0 {
		t.Error("nothing is stored")
	}
	t.Logf("%d records of %d epochs are stored in order", len(list), len(next))
}
