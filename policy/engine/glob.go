package engine

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gobwas/glob"
	"github.com/open-policy-agent/opa/v1/ir"
)

// knownGlob is a pattern of glob.match that stands in the policy.
type knownGlob struct {
	pattern *glob.Pattern
	// stars are those that stop at a delimiter, or at the end where there are no
	// delimiters; supers go beyond. choices is how many ways there are through its
	// alternatives, at most.
	stars, supers, choices int
	delimiters             string
}

// maxGlobSteps bounds matching where the evaluation is: a pattern is tried by going
// back to each of its stars, and nothing can interrupt that.
const maxGlobSteps = 1 << 15

// prompt reports whether matching a text takes a bounded time.
func (g *knownGlob) prompt(text string) bool {
	longest, at := 0, 0
	for g.stars > 0 && at < len(text) && g.delimiters != "" {
		n := strings.IndexAny(text[at:], g.delimiters)
		if n < 0 {
			break
		}
		longest, at = max(longest, n), at+n+1
	}
	longest = max(longest, len(text)-at)
	steps := g.choices
	for range g.stars {
		if steps *= longest + 1; steps > maxGlobSteps {
			return false
		}
	}
	for range g.supers {
		if steps *= len(text) + 1; steps > maxGlobSteps {
			return false
		}
	}
	return steps <= maxGlobSteps
}

// newGlob compiles a pattern. What is escaped counts as if it were not.
func newGlob(pattern string, delimiters []rune) (*knownGlob, error) {
	p, err := glob.Compile(pattern, delimiters...)
	if err != nil {
		return nil, err
	}
	g := &knownGlob{pattern: p, delimiters: string(delimiters), choices: 1}
	g.supers = strings.Count(pattern, "**")
	g.stars = strings.Count(pattern, "*") - 2*g.supers
	for range strings.Count(pattern, "{") {
		if g.choices *= strings.Count(pattern, ",") + 1; g.choices > maxGlobSteps {
			break
		}
	}
	return g, nil
}

// seenGlobs are the patterns that a call was given which are not known when it is
// compiled: those of a function's argument mostly, which are the policy's all the same.
// Of others, such as an input's, no more are kept than the bounds below allow.
type seenGlobs struct {
	delimiters []rune
	known      atomic.Pointer[map[string]*knownGlob]
	adding     sync.Mutex
}

const (
	maxSeenGlobs = 256
	// maxSeenGlob is the longest pattern that is compiled where the evaluation is.
	maxSeenGlob = 256
)

// find gives a pattern, nil for one that OPA's own is to match.
func (s *seenGlobs) find(pattern string) *knownGlob {
	if known := s.known.Load(); known != nil {
		if g, ok := (*known)[pattern]; ok {
			return g
		}
		if len(*known) >= maxSeenGlobs {
			return nil
		}
	}
	if len(pattern) > maxSeenGlob {
		return nil
	}
	return s.add(strings.Clone(pattern))
}

// add compiles a pattern. One that does not compile is kept as such.
func (s *seenGlobs) add(pattern string) *knownGlob {
	g, err := newGlob(pattern, s.delimiters)
	if err != nil {
		g = nil
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	longer := map[string]*knownGlob{pattern: g}
	if known := s.known.Load(); known != nil {
		maps.Copy(longer, *known)
	}
	s.known.Store(&longer)
	return g
}

// matchGlobs compiles glob.match with delimiters that are constants. OPA's has the
// texts and patterns for which that may take long, and what is no string.
func (s *scope) matchGlobs(x *ir.CallStmt, f *foreign) bool {
	if len(f.args) != 3 {
		return false
	}
	delimiters, ok := globDelimiters(f.args[1])
	if !ok {
		return false
	}
	choices := s.choices(x.Args[0], f.args[0])
	globs := compiledTexts(choices, func(pattern string) (*knownGlob, error) { return newGlob(pattern, delimiters) })
	if globs == nil && len(choices) > 0 {
		return false
	}
	find := func(pattern string) *knownGlob { return globs[pattern] }
	if globs == nil {
		seen := &seenGlobs{delimiters: delimiters}
		find = seen.find
	}
	pattern, text := f.args[0], f.args[2]
	s.emit(func(m *machine) signal {
		p, v := pattern.of(m), text.of(m)
		if p.k != stringKind || v.k != stringKind {
			return f.call(m)
		}
		g := find(p.string())
		if g == nil || !g.prompt(v.string()) {
			return f.call(m)
		}
		if !m.charge(v.n) {
			return failed
		}
		m.frame[f.to] = boolean(g.pattern.Match(v.string()))
		return next
	})
	return true
}

// globDelimiters are those that the operand stands for: none for null, and a dot
// for an empty list.
func globDelimiters(o operand) (delimiters []rune, ok bool) {
	switch {
	case !o.constant():
		return nil, false
	case o.value.k == nullKind:
		return nil, true
	case o.value.k != arrayKind:
		return nil, false
	}
	for _, v := range o.value.collection().keys {
		if v.k != stringKind || utf8.RuneCountInString(v.string()) != 1 {
			return nil, false
		}
		r, _ := utf8.DecodeRuneInString(v.string())
		delimiters = append(delimiters, r)
	}
	if len(delimiters) == 0 {
		delimiters = []rune{'.'}
	}
	return delimiters, true
}
