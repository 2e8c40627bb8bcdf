package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// cache keeps bundles on disk, each in a file named by its hash. What is read is
// hashed again, so that a file that was damaged is never served.
type cache struct {
	disk disk
	most int64
	// needed gives the bundles that pointers name, which are removed last.
	needed  func() map[string]bool
	log     *slog.Logger
	metrics *metrics
	reading singleflight.Group
	// writing makes one removal at a time.
	writing sync.Mutex

	mu    sync.Mutex
	files map[string]*cached
	bytes int64
	// zones are those whose pointers name, or named, a bundle since the start.
	zones map[string]map[string]bool
}

// cached is one bundle on disk.
type cached struct {
	size int64
	used time.Time
}

func openCache(d disk, most int64, needed func() map[string]bool, log *slog.Logger, m *metrics) (*cache, error) {
	c := &cache{disk: d, most: most, needed: needed, log: log, metrics: m, files: map[string]*cached{}, zones: map[string]map[string]bool{}}
	entries, err := os.ReadDir(d.path(bundleDir))
	if err != nil {
		return nil, fmt.Errorf("reading the cached bundles: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("reading the cached bundles: %w", err)
		}
		if hashPattern.MatchString(e.Name()) && info.Mode().IsRegular() {
			c.files[e.Name()] = &cached{size: info.Size(), used: info.ModTime()}
			c.bytes += info.Size()
		}
	}
	return c, nil
}

// name notes that a pointer of a zone names a bundle.
func (c *cache) name(sha256, zone string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zones[sha256] == nil {
		c.zones[sha256] = map[string]bool{}
	}
	c.zones[sha256][zone] = true
}

// namedBy tells whether a pointer of one of the zones names, or named, a bundle.
func (c *cache) namedBy(sha256 string, zones map[string]bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for zone := range c.zones[sha256] {
		if zones[zone] {
			return true
		}
	}
	return false
}

// has tells whether a bundle is on disk.
func (c *cache) has(sha256 string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[sha256] != nil
}

// stats are the number and the bytes of the bundles on disk.
func (c *cache) stats() (files int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.files), c.bytes
}

// get reads a bundle; the error matches fs.ErrNotExist where it is not there.
// One that does not have its hash is removed. Callers must not change the bytes,
// which those who ask at once share.
func (c *cache) get(ctx context.Context, sha256 string) ([]byte, error) {
	data, err, _ := c.reading.Do(sha256, func() (any, error) { return c.read(ctx, sha256) })
	if err != nil {
		return nil, err
	}
	return data.([]byte), nil
}

func (c *cache) read(ctx context.Context, sha256 string) ([]byte, error) {
	c.mu.Lock()
	file := c.files[sha256]
	if file != nil {
		file.used = time.Now()
	}
	c.mu.Unlock()
	if file == nil {
		return nil, fs.ErrNotExist
	}
	data, err := os.ReadFile(c.disk.path(bundleDir, sha256))
	if err == nil {
		if err = distribution.Verify(data, sha256); err == nil {
			return data, nil
		}
		c.log.Error("a cached bundle is damaged; it is removed and fetched again", "bundle", sha256, "error", err)
		c.metrics.damaged.Add(ctx, 1)
		err = fs.ErrNotExist
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if rerr := c.remove(sha256); rerr != nil {
		c.log.Error("a bundle that cannot be used cannot be removed from the cache", "bundle", sha256, "error", rerr)
	}
	return nil, fmt.Errorf("reading bundle %s: %w", sha256, err)
}

// put keeps a verified bundle and makes room for it.
func (c *cache) put(sha256 string, data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.has(sha256) {
		return nil
	}
	size := int64(len(data))
	if size > c.most {
		return fmt.Errorf("%w: bundle %s has %d bytes; the cache holds %d", bundle.ErrLimit, sha256, size, c.most)
	}
	if err := c.makeRoom(size); err != nil {
		return err
	}
	if err := c.disk.write(data, bundleDir, sha256); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[sha256] = &cached{size: size, used: time.Now()}
	c.bytes += size
	return nil
}

// makeRoom removes bundles until there is room for so many bytes: those that no
// pointer names first, and of these the ones that were not used for longest. The
// caller holds writing.
func (c *cache) makeRoom(size int64) error {
	type candidate struct {
		sha256 string
		needed bool
		used   time.Time
	}
	c.mu.Lock()
	over := c.bytes + size - c.most
	var list []candidate
	if over > 0 {
		for sha256, f := range c.files {
			list = append(list, candidate{sha256: sha256, used: f.used})
		}
	}
	c.mu.Unlock()
	if over <= 0 {
		return nil
	}
	needed := c.needed()
	for i := range list {
		list[i].needed = needed[list[i].sha256]
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].needed != list[j].needed {
			return list[j].needed
		}
		return list[i].used.Before(list[j].used)
	})
	for _, out := range list {
		if _, bytes := c.stats(); bytes+size <= c.most {
			break
		}
		if out.needed {
			c.log.Warn("the cache is too small for the bundles that pointers name; one is removed", "bundle", out.sha256, "cache_bytes", c.most)
		}
		if err := c.remove(out.sha256); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a bundle. The caller holds writing.
func (c *cache) remove(sha256 string) error {
	if err := os.Remove(c.disk.path(bundleDir, sha256)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a cached bundle: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.files[sha256]; f != nil {
		c.bytes -= f.size
		delete(c.files, sha256)
	}
	return nil
}

// forget drops what is known of bundles that are neither on disk nor named by a
// pointer, so that what is remembered does not grow for ever.
func (c *cache) forget() {
	needed := c.needed()
	c.mu.Lock()
	defer c.mu.Unlock()
	for sha256 := range c.zones {
		if c.files[sha256] == nil && !needed[sha256] {
			delete(c.zones, sha256)
		}
	}
}
