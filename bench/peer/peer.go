// Package peer has those that are compared in one process: each evaluates the
// same policy, given in its own language, on the same inputs.
package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/caracalai/caracald/bench/workload"
)

// Peer decides the inputs of one workload. Its functions are for one goroutine.
type Peer struct {
	// Name is short and stable: it is part of the rows of a report.
	Name string
	// Parse makes of an input document what a caller that has its input in
	// memory already would hand over.
	Parse func(raw []byte) (any, error)
	// Decide evaluates what Parse gave.
	Decide func(parsed any) (allow bool, err error)
	// Answer appends to dst the answer to an input document, as JSON.
	Answer func(dst, raw []byte) ([]byte, error)
}

// New prepares all peers that have the workload's policy: this project's
// engine comes first.
func New(ctx context.Context, w *workload.Workload) ([]*Peer, error) {
	return prepare(ctx, w, Caracal, OPA, Cedar, Go)
}

// NewPair prepares this project's engine and the function written by hand, which
// are soon there for any number of rules.
func NewPair(ctx context.Context, w *workload.Workload) ([]*Peer, error) {
	return prepare(ctx, w, Caracal, Go)
}

func prepare(ctx context.Context, w *workload.Workload, all ...func(context.Context, *workload.Workload) (*Peer, error)) ([]*Peer, error) {
	var peers []*Peer
	for _, make := range all {
		p, err := make(ctx, w)
		if errors.Is(err, errNoPolicy) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("preparing a peer for workload %s: %w", w.Name, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// errNoPolicy says that a peer has no equivalent of the workload's policy.
var errNoPolicy = errors.New("no equivalent policy")

// Agree fails unless every peer decides each of n inputs as the workload says
// it is to be decided.
func Agree(w *workload.Workload, peers []*Peer, seed uint64, n int) error {
	inputs := w.Inputs(seed)
	denied := 0
	var raw, answer []byte
	for i := range n {
		var allow bool
		raw, allow = inputs.Next(raw[:0])
		if !allow {
			denied++
		}
		for _, p := range peers {
			parsed, err := p.Parse(raw)
			if err != nil {
				return fmt.Errorf("workload %s, %s: parsing input %d: %w", w.Name, p.Name, i, err)
			}
			got, err := p.Decide(parsed)
			if err != nil {
				return fmt.Errorf("workload %s, %s: deciding input %d: %w", w.Name, p.Name, i, err)
			}
			if got != allow {
				return fmt.Errorf("workload %s: %s says allow=%t of an input where it is %t: %s", w.Name, p.Name, got, allow, raw)
			}
			if answer, err = p.Answer(answer[:0], raw); err != nil {
				return fmt.Errorf("workload %s, %s: answering input %d: %w", w.Name, p.Name, i, err)
			}
			if got, err := Decision(answer); err != nil || got != allow {
				return fmt.Errorf("workload %s: %s answers %s to an input where allow is %t: %s (%v)", w.Name, p.Name, answer, allow, raw, err)
			}
		}
	}
	if n >= 100 && (denied < n/20 || denied > n/5) {
		return fmt.Errorf("workload %s: %d of %d inputs are denied, which is not one in ten", w.Name, denied, n)
	}
	return nil
}
