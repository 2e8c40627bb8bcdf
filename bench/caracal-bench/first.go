package main

import (
	"context"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/server"
)

const (
	// probePause is the time between two questions for a bundle: short beside
	// what is measured, and long enough to leave the processors to it.
	probePause = 200 * time.Microsecond
	// swapDeadline is when a version that is not served is a failure.
	swapDeadline = 10 * time.Second
)

// firstDecision activates a version and tells how long it took, from before the
// call, until a decision came from its bundle.
func (m *moving) firstDecision(ctx context.Context, v server.Version) (time.Duration, error) {
	type seen struct {
		at  time.Time
		err error
	}
	probe, err := loader.NewProbe(ctx, m.target, uint64(m.published))
	if err != nil {
		return 0, err
	}
	defer probe.Close()
	if _, err := probe.Answer(); err != nil { // the connection is there
		return 0, err
	}
	first := make(chan seen, 1)
	start := time.Now()
	go func() {
		at, err := awaitBundle(probe, v.Bundle)
		first <- seen{at, err}
	}()
	_, err = m.zone.Activate(ctx, v)
	s := <-first
	if err != nil {
		return 0, err
	}
	return s.at.Sub(start), s.err
}

// serves waits until the daemon answers from a version.
func (m *moving) serves(ctx context.Context, v server.Version) error {
	probe, err := loader.NewProbe(ctx, m.target, uint64(m.published)+1<<20)
	if err != nil {
		return err
	}
	defer probe.Close()
	_, err = awaitBundle(probe, v.Bundle)
	return err
}

// awaitBundle asks until a decision names a bundle, and tells when it came.
func awaitBundle(p *loader.Probe, bundle string) (time.Time, error) {
	deadline := time.Now().Add(swapDeadline)
	for {
		answer, err := p.Answer()
		now := time.Now()
		switch {
		case err != nil:
			return now, err
		case answer.BundleSHA256 == bundle:
			return now, nil
		case now.After(deadline):
			return now, fmt.Errorf("bundle %s is not served after %v", bundle, swapDeadline)
		}
		time.Sleep(probePause)
	}
}
