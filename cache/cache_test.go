package cache_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/cache"
)

func newCache[V any](t testing.TB, bytes int64) *cache.Cache[V] {
	t.Helper()
	c, err := cache.New[V](cache.Options{MaxBytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// keep offers an entry as often as it takes to be kept.
func keep[V any](c *cache.Cache[V], generation uint64, key string, v V, cost int64) {
	for range 2 {
		c.Set(generation, []byte(key), v, cost)
	}
	c.Wait()
}

// TestOfferedOnce: what comes once is not kept, and does not push out what comes again.
func TestOfferedOnce(t *testing.T) {
	c := newCache[int](t, 64<<10)
	keep(c, 1, "again", 1, 0)
	for i := range 20_000 {
		key := fmt.Appendf(nil, "once-%d", i)
		c.Set(1, key, 2, 1000)
		if i < 100 { // so few do not take each other's places, but for an odd one
			c.Wait()
			if _, ok := c.Get(1, key); ok {
				t.Errorf("%s is kept", key)
			}
		}
	}
	c.Wait()
	if v, ok := c.Get(1, []byte("again")); !ok || v != 1 {
		t.Errorf("what came again is gone: %d, %v", v, ok)
	}
	if s := c.Stats(); s.Evictions > 0 || s.Bytes > 10_000 {
		t.Errorf("%+v", s)
	}
	// Another snapshot's inputs are others.
	c.Set(2, []byte("again"), 3, 0)
	c.Wait()
	if _, ok := c.Get(2, []byte("again")); ok {
		t.Error("an entry of another generation counts as offered before")
	}
}

func TestGetWhatWasSet(t *testing.T) {
	c := newCache[string](t, 1<<20)
	key := []byte("key")
	for range 2 {
		c.Set(1, key, "one", 3)
	}
	c.Wait()
	key[0] = 'x' // the cache has its own copy
	if v, ok := c.Get(1, []byte("key")); !ok || v != "one" {
		t.Errorf("got %q, %v", v, ok)
	}
	if v, ok := c.Get(1, key); ok {
		t.Errorf("another key gives %q", v)
	}
	c.Set(1, []byte("key"), "two", 3)
	c.Wait()
	if v, ok := c.Get(1, []byte("key")); !ok || v != "two" {
		t.Errorf("set again: got %q, %v", v, ok)
	}
	if s := c.Stats(); s.Hits != 2 || s.Misses != 1 || s.Bytes < 6 || s.MaxBytes != 1<<20 {
		t.Errorf("%+v", s)
	}
}

func TestGeneration(t *testing.T) {
	c := newCache[int](t, 1<<20)
	keep(c, 1, "key", 1, 0)
	for _, generation := range []uint64{0, 2, 1 << 63} {
		if v, ok := c.Get(generation, []byte("key")); ok {
			t.Errorf("generation %d gives %d", generation, v)
		}
	}
	keep(c, 2, "key", 2, 0)
	if v, ok := c.Get(2, []byte("key")); !ok || v != 2 {
		t.Errorf("got %d, %v", v, ok)
	}
	if v, ok := c.Get(1, []byte("key")); ok && v != 1 {
		t.Errorf("generation 1 gives %d", v)
	}
}

// TestCollisions puts every key into one slot: whatever answers must be what was
// set for exactly that generation and key.
func TestCollisions(t *testing.T) {
	c := newCache[string](t, 1<<20)
	cache.Collide(c)
	rapid.Check(t, func(t *rapid.T) {
		generation := rapid.Uint64Range(0, 3)
		key := rapid.SampledFrom([]string{"", "a", "b", "ab", "a\x00"})
		for range 20 {
			g, k := generation.Draw(t, "generation"), key.Draw(t, "key")
			want := fmt.Sprintf("%d %q", g, k)
			if rapid.Bool().Draw(t, "set") {
				c.Set(g, []byte(k), want, 10)
				c.Wait()
				continue
			}
			if got, ok := c.Get(g, []byte(k)); ok && got != want {
				t.Fatalf("generation %d, key %q gives %s", g, k, got)
			}
		}
	})
	keep(c, 1, "last", "last", 0)
	if got, ok := c.Get(1, []byte("last")); !ok || got != "last" {
		t.Errorf("the key set last gives %q, %v", got, ok)
	}
}

func TestBounded(t *testing.T) {
	const limit = 64 << 10
	c := newCache[[]byte](t, limit)
	for i := range 2000 {
		keep(c, 1, fmt.Sprint("key-", i), make([]byte, 1000), 1000)
		if s := c.Stats(); s.Bytes > limit {
			t.Fatalf("%d bytes after %d entries, want at most %d", s.Bytes, i+1, limit)
		}
	}
	s := c.Stats()
	if s.Evictions+s.Rejections < 1900 {
		t.Errorf("%+v: 2000 entries of a kilobyte in 64 cannot all be there", s)
	}
	if s.Bytes < limit/2 {
		t.Errorf("%+v: half of the room is unused", s)
	}
	keep(c, 1, string(make([]byte, 2*limit)), nil, 0) // the key alone is too much
	if _, ok := c.Get(1, make([]byte, 2*limit)); ok {
		t.Error("an entry with a key larger than the cache is kept")
	}
}

func TestDisabled(t *testing.T) {
	for name, c := range map[string]*cache.Cache[int]{
		"zero bytes": newCache[int](t, 0), "negative": newCache[int](t, -1), "nil": nil,
	} {
		c.Set(1, []byte("key"), 1, 1)
		c.Wait()
		if _, ok := c.Get(1, []byte("key")); ok {
			t.Errorf("%s: answers", name)
		}
		if s := c.Stats(); s != (cache.Stats{}) {
			t.Errorf("%s: %+v", name, s)
		}
		c.Close()
	}
}

func TestClosed(t *testing.T) {
	c := newCache[int](t, 1<<20)
	keep(c, 1, "key", 1, 1)
	c.Close()
	c.Close()
	if _, ok := c.Get(1, []byte("key")); ok {
		t.Error("a closed cache answers")
	}
	c.Set(1, []byte("key"), 1, 1)
}

// TestTogether sets and gets from many goroutines while the cache is too small.
func TestTogether(t *testing.T) {
	c := newCache[uint64](t, 32<<10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(g)))
			for range 5000 {
				generation, n := random.Uint64N(3), random.Uint64N(500)
				key := binary.BigEndian.AppendUint64(nil, n)
				if v, ok := c.Get(generation, key); ok && v != generation<<32|n {
					t.Errorf("generation %d, key %d gives %x", generation, n, v)
				}
				c.Set(generation, key, generation<<32|n, 50)
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Hits+s.Misses != 8*5000 {
		t.Errorf("%+v: 40000 lookups were made", s)
	}
}

func BenchmarkCacheGet(b *testing.B) {
	for _, size := range []int{64, 512} {
		c := newCache[[]byte](b, 64<<20)
		keys := make([][]byte, 1024)
		for i := range keys {
			keys[i] = binary.BigEndian.AppendUint64(make([]byte, size-8), uint64(i))
			keep(c, 1, string(keys[i]), keys[i], int64(size))
		}
		c.Wait()
		b.Run(fmt.Sprintf("hit/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.Get(1, keys[i%len(keys)])
				}
			})
		})
		b.Run(fmt.Sprintf("miss/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.Get(2, keys[i%len(keys)])
				}
			})
		})
	}
}
