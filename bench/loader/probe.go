package loader

import (
	"context"
	"encoding/json"
	"fmt"
)

// Probe asks one decision after another and reads what the answers name.
type Probe struct{ caller *caller }

// Named is what a decision of a daemon names.
type Named struct {
	BundleSHA256       string `json:"bundle_sha256"`
	PolicySetVersionID string `json:"policy_set_version_id"`
}

// NewProbe connects to a daemon. Equal seeds ask the same.
func NewProbe(ctx context.Context, t Target, seed uint64) (*Probe, error) {
	c, err := dial(ctx, t, seed<<16|0xfffe)
	if err != nil {
		return nil, err
	}
	return &Probe{c}, nil
}

// Close ends the connection.
func (p *Probe) Close() { p.caller.close() }

// Answer asks for one decision. A wrong one is ErrWrong.
func (p *Probe) Answer() (Named, error) {
	if err := p.caller.exchange(); err != nil {
		return Named{}, err
	}
	var n Named
	if err := json.Unmarshal(p.caller.resp.Body(), &n); err != nil {
		return n, fmt.Errorf("reading an answer: %w", err)
	}
	return n, nil
}
