package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
)

// reference is OPA's evaluator for a set that the engine evaluates. It is compiled when
// rules contradict each other for the first time, which for most sets never happens.
type reference struct {
	// content are names and contents of the policies, compressed: who serves many
	// sets does not keep them otherwise.
	content []byte
	// track is as the set has it.
	track bool
	mu    sync.Mutex
	// now is being compiled, or was; nil before.
	now *interpreted
}

// interpreted is a set that is compiled for OPA's evaluator.
type interpreted struct {
	done   chan struct{}
	engine *topdownEngine
	err    error
}

// newReference keeps what is needed to compile the modules again. Until it rests it
// has an evaluator that there is.
func newReference(mods []Module, now *topdownEngine) (*reference, error) {
	written := make([]Module, len(mods))
	for i, m := range mods {
		written[i] = Module{Name: m.Name, Content: m.Content}
	}
	raw, err := json.Marshal(written)
	if err != nil {
		return nil, fmt.Errorf("keeping what policies say: %w", err)
	}
	var b bytes.Buffer
	if err := flate.StatelessDeflate(&b, raw, true, nil); err != nil {
		return nil, fmt.Errorf("keeping what policies say: %w", err)
	}
	ready := &interpreted{done: make(chan struct{}), engine: now}
	close(ready.done)
	return &reference{content: bytes.Clone(b.Bytes()), track: now.track, now: ready}, nil
}

// rest lets go of the evaluator.
func (r *reference) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = nil
}

// evaluate evaluates within what the meter has left; compiling counts as time.
func (r *reference) evaluate(m *meter, in *Input) (outcome, error) {
	c := r.compiled()
	timer := time.NewTimer(time.Until(m.deadline))
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		return outcome{}, timedOut(m.limits)
	case <-m.ctx.Done():
		return outcome{}, stoppedBy(m.ctx)
	}
	if c.err != nil {
		return outcome{}, &evaluationError{reason: ReasonError, message: "compiling for OPA's evaluator: " + c.err.Error()}
	}
	return c.engine.run(m, in.document(), nil)
}

// compiled begins to compile, where nobody did. Whoever comes does not wait for longer
// than for an evaluation; those who come later find what was made.
func (r *reference) compiled() *interpreted {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil {
		c := &interpreted{done: make(chan struct{})}
		r.now = c
		go func() {
			defer close(c.done)
			c.engine, c.err = r.compile()
		}()
	}
	return r.now
}

// compile compiles for OPA's evaluator. Nobody else is there to recover from a panic.
func (r *reference) compile() (_ *topdownEngine, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(firstLine(p))
		}
	}()
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(r.content)))
	if err != nil {
		return nil, err
	}
	var mods []Module
	if err := json.Unmarshal(raw, &mods); err != nil {
		return nil, err
	}
	_, e, err := compileAgain(context.Background(), mods, r.track)
	return e, err
}

// compileAgain compiles modules that a set was made of for OPA's evaluator, with the
// documents as they were written, which the set does not keep. What they were checked
// for once is not checked again.
func compileAgain(ctx context.Context, mods []Module, track bool) (*program, *topdownEngine, error) {
	p := &program{track: track}
	for _, m := range mods {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("compiling policies: %w", err)
		}
		parsed, err := readModule(m.Name, m.Content)
		if err != nil {
			return nil, nil, &InvalidError{Errors: contentErrors(err, m.Name)}
		}
		p.documents = append(p.documents, &document{name: m.Name, parsed: parsed})
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("compiling policies: %w", err)
	}
	var refused []ContentError
	if p.compiler, refused = compile(p.documents); refused != nil {
		return nil, nil, &InvalidError{Errors: refused}
	}
	e, err := newTopdown(p)
	if err != nil {
		return nil, nil, err
	}
	return p, e, nil
}
