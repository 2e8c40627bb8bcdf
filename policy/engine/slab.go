package engine

const (
	firstChunk = 256
	// keptItems bounds what a slab keeps for the next evaluation.
	keptItems = 1 << 15
)

// slab hands out room that is all given back at once.
type slab[T any] struct {
	chunks [][]T
	chunk  int // the one that room is taken from
	used   int // of it
}

// many gives n zero items, with no room to grow.
func (s *slab[T]) many(n int) []T {
	for s.chunk < len(s.chunks) {
		if c := s.chunks[s.chunk]; s.used+n <= len(c) {
			items := c[s.used : s.used+n : s.used+n]
			s.used += n
			return items
		}
		if s.chunk+1 == len(s.chunks) {
			break
		}
		s.chunk++
		s.used = 0
	}
	size := firstChunk << min(len(s.chunks), 8)
	s.chunks = append(s.chunks, make([]T, max(size, n)))
	s.chunk, s.used = len(s.chunks)-1, n
	return s.chunks[s.chunk][:n:n]
}

func (s *slab[T]) one() *T { return &s.many(1)[0] }

// reset takes all room back.
func (s *slab[T]) reset() {
	kept := 0
	for i, c := range s.chunks {
		if kept += len(c); kept > keptItems {
			clear(s.chunks[i:])
			s.chunks = s.chunks[:i]
			break
		}
		switch {
		case i < s.chunk:
			clear(c)
		case i == s.chunk:
			clear(c[:s.used])
		}
	}
	s.chunk, s.used = 0, 0
}
