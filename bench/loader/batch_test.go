package loader_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

// batches answers batches over a Unix socket, each input by answer.
func batches(t *testing.T, answer func(input []byte) ([]byte, error)) loader.Target {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Inputs []json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		var results struct {
			Results []json.RawMessage `json:"results"`
		}
		for _, in := range body.Inputs {
			a, err := answer(in)
			if err != nil {
				t.Error(err)
			}
			results.Results = append(results.Results, a)
		}
		_ = json.NewEncoder(w).Encode(results)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return loader.Target{Network: "unix", Addr: socket, Path: "/v1/decide/batch", Batch: 20, Workload: workload.Find("A"), Zones: []string{"z"}}
}

func TestBatchesCountDecisions(t *testing.T) {
	workers := make(chan *peer.Peer, 2)
	for range cap(workers) {
		p, err := peer.Go(t.Context(), workload.Find("A"))
		if err != nil {
			t.Fatal(err)
		}
		workers <- p
	}
	target := batches(t, func(input []byte) ([]byte, error) {
		p := <-workers
		defer func() { workers <- p }()
		return p.Answer(nil, input)
	})
	if err := loader.Check(t.Context(), target, 1, 10); err != nil {
		t.Error(err)
	}
	r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 2, Duration: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != 0 || r.Answered == 0 || r.Decisions != 20*r.Answered {
		t.Errorf("answered %d, failed %d (%v), %d decisions", r.Answered, r.Failed, r.Failure, r.Decisions)
	}
}

// One wrong decision in a batch is found out.
func TestBatchesAreChecked(t *testing.T) {
	target := batches(t, func([]byte) ([]byte, error) { return []byte(`{"decision":"allow"}`), nil })
	if err := loader.Check(t.Context(), target, 1, 20); !errors.Is(err, loader.ErrWrong) {
		t.Errorf("the error is %v", err)
	}
}
