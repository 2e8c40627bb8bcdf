package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/caracalai/caracald/internal/sharing"
	"github.com/caracalai/caracald/policy/engine"
)

// Library compiles sets, and compiles what several of them have alike only once:
// zones that have the same policies share what was made of them, and those that differ
// in some rules what was made of the others, for as long as one of them has it. It is
// for those who serve many sets: these keep what their policies say only compressed, and
// only where rules may contradict each other, and cannot be traced. It is safe for
// concurrent use; the zero Library is empty.
type Library struct {
	shared    sharing.Map[[sha256.Size]byte, compiledSet]
	functions engine.Functions
	// What rules read, and where results come from, tells little of what they say.
	inputs  sharing.Map[[sha256.Size]byte, inputReads]
	origins sharing.Map[[sha256.Size]byte, provenance]
}

// Compile is the function Compile.
func (l *Library) Compile(ctx context.Context, mods []Module) (*Set, error) {
	key := contentKey(mods)
	c := l.shared.Get(key)
	if c == nil {
		own, err := compileModules(ctx, mods, true, l)
		if err != nil {
			return nil, err
		}
		c = l.shared.Share(key, own)
	}
	return newSet(c, withoutContent(mods)), nil
}

// compiling gives what the compiled engine shares; a nil Library shares nothing.
func (l *Library) compiling() *engine.Functions {
	if l == nil {
		return nil
	}
	return &l.functions
}

func (l *Library) reads(r *inputReads) *inputReads {
	if l == nil {
		return r
	}
	return l.inputs.Share(sha256.Sum256(fmt.Appendf(nil, "%q", *r)), r)
}

func (l *Library) provenance(p *provenance) *provenance {
	if l == nil {
		return p
	}
	return l.origins.Share(sha256.Sum256(fmt.Appendf(nil, "%v", *p)), p)
}

func withoutContent(mods []Module) []Module {
	bare := slices.Clone(mods)
	for i := range bare {
		bare[i].Content = ""
	}
	return bare
}

// contentKey is equal for modules that compile to the same, which their names and
// contents tell in their order; only ids may differ.
func contentKey(mods []Module) (key [sha256.Size]byte) {
	h := sha256.New()
	for _, m := range mods {
		for _, text := range [...]string{m.Name, m.Content} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(text)))
			h.Write(n[:])
			h.Write([]byte(text))
		}
	}
	h.Sum(key[:0])
	return key
}
