package audit

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

const (
	// maxGapKeys bounds the counts kept apart; further zones are counted
	// together under the zone "".
	maxGapKeys = 256
	// maxGapZone and maxGapReason cut what is kept of a zone id and a reason.
	maxGapZone, maxGapReason = 128, 64
	// gapSlotBytes holds maxGapKeys entries of the greatest length.
	gapSlotBytes = 64 << 10
	// gapsPerFrame bounds how many gap records one group takes along.
	gapsPerFrame = 64
	// gapDamaged is the reason for records that the spool itself lost.
	gapDamaged = "damaged"
)

// gapKey is what lost records are counted by.
type gapKey struct{ zone, reason string }

// gapEntry is one count.
type gapEntry struct {
	gapKey
	count uint64
}

// gapCounts counts the records that could not be kept until a record of their
// own says so. The counts are also in a file, which was made at its full size
// beforehand, so that it can be written while the disk is full: two slots,
// written in turn, of which the valid one with the higher number counts.
type gapCounts struct {
	sync bool
	log  *slog.Logger

	mu      sync.Mutex
	counts  map[gapKey]uint64
	pending uint64
	noted   uint64
	version uint64 // of counts
	// keys is len(counts), for those who only ask whether any wait.
	keys atomic.Int64

	writing sync.Mutex
	file    file
	written uint64 // the version in the file
	number  uint64 // of the slot written last
	buf     []byte
}

func openGaps(d disk, name string, sync bool, log *slog.Logger) (*gapCounts, error) {
	f, err := d.open(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("opening the gap counts: %w", err)
	}
	g := &gapCounts{sync: sync, log: log, counts: make(map[gapKey]uint64), file: f}
	raw := make([]byte, 2*gapSlotBytes)
	n, err := f.ReadAt(raw, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("reading the gap counts: %w", err), f.Close())
	}
	for slot := range 2 {
		number, entries, ok := parseGapSlot(raw[slot*gapSlotBytes:][:gapSlotBytes])
		if !ok || number < g.number {
			continue
		}
		clear(g.counts)
		g.number, g.pending = number, 0
		for _, e := range entries {
			g.counts[e.gapKey] += e.count
			g.pending += e.count
		}
	}
	g.keys.Store(int64(len(g.counts)))
	if n < len(raw) {
		// Zeros are written, not only the size set: the blocks must be there.
		if _, err = f.WriteAt(raw[n:], int64(n)); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("making room for the gap counts: %w", err), f.Close())
		}
	}
	return g, nil
}

// note counts lost records and returns once the count is in the file too.
// Callers that come together share one write.
func (g *gapCounts) note(zone string, n uint64, reason string) {
	zone, reason = cut(zone, maxGapZone), cut(reason, maxGapReason)
	g.mu.Lock()
	k := gapKey{zone, reason}
	if _, ok := g.counts[k]; !ok && len(g.counts) >= maxGapKeys-1 {
		k = gapKey{reason: "various"}
	}
	g.counts[k] += n
	g.pending += n
	g.noted += n
	g.keys.Store(int64(len(g.counts)))
	g.version++
	version := g.version
	g.mu.Unlock()
	g.store(version)
}

// cut makes text valid UTF-8 of at most n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// store writes the counts unless the file already has that version.
func (g *gapCounts) store(version uint64) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if g.written >= version {
		return
	}
	g.mu.Lock()
	version = g.version
	entries := g.sorted()
	g.mu.Unlock()

	g.buf = appendGapSlot(g.buf[:0], g.number+1, entries)
	_, err := g.file.WriteAt(g.buf, int64((g.number+1)%2)*gapSlotBytes)
	if err == nil && g.sync {
		err = g.file.Sync()
	}
	if err != nil {
		g.log.Error("storing the counts of audit gaps", "error", err)
		return // they stay in memory, and the next store writes them
	}
	g.number++
	g.written = version
}

// sorted lists the counts. The caller holds mu.
func (g *gapCounts) sorted() []gapEntry {
	entries := make([]gapEntry, 0, len(g.counts))
	for k, n := range g.counts {
		entries = append(entries, gapEntry{k, n})
	}
	slices.SortFunc(entries, func(a, b gapEntry) int {
		return cmp.Or(strings.Compare(a.zone, b.zone), strings.Compare(a.reason, b.reason))
	})
	return entries
}

// settle takes what now has records off the counts.
func (g *gapCounts) settle(entries []gapEntry) {
	if len(entries) == 0 {
		return
	}
	g.mu.Lock()
	for _, e := range entries {
		if g.counts[e.gapKey] -= e.count; g.counts[e.gapKey] == 0 {
			delete(g.counts, e.gapKey)
		}
		g.pending -= e.count
	}
	g.keys.Store(int64(len(g.counts)))
	g.version++
	version := g.version
	g.mu.Unlock()
	g.store(version)
}

func (g *gapCounts) waiting() bool { return g.keys.Load() > 0 }

func (g *gapCounts) totals() (noted, pending uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.noted, g.pending
}

func (g *gapCounts) close() error {
	g.mu.Lock()
	version := g.version
	g.mu.Unlock()
	g.store(version)
	return g.file.Close()
}

// A slot: CRC-32C of what follows, its length, the slot's number, the count of
// entries, and for each its count, zone and reason, both after their length.
func appendGapSlot(dst []byte, number uint64, entries []gapEntry) []byte {
	dst = append(dst, make([]byte, 8)...)
	dst = binary.BigEndian.AppendUint64(dst, number)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(entries)))
	for _, e := range entries {
		dst = binary.BigEndian.AppendUint64(dst, e.count)
		for _, text := range [...]string{e.zone, e.reason} {
			dst = append(dst, byte(len(text)))
			dst = append(dst, text...)
		}
	}
	binary.BigEndian.PutUint32(dst[4:], uint32(len(dst)-8))
	binary.BigEndian.PutUint32(dst, crc32.Checksum(dst[4:], castagnoli))
	return dst
}

func parseGapSlot(raw []byte) (number uint64, entries []gapEntry, ok bool) {
	n := int64(binary.BigEndian.Uint32(raw[4:]))
	if n < 12 || 8+n > int64(len(raw)) || crc32.Checksum(raw[4:8+n], castagnoli) != binary.BigEndian.Uint32(raw) {
		return 0, nil, false
	}
	body := raw[8 : 8+n]
	number, count := binary.BigEndian.Uint64(body), binary.BigEndian.Uint32(body[8:])
	body = body[12:]
	text := func() string {
		if len(body) == 0 || len(body) <= int(body[0]) {
			ok = false
			return ""
		}
		s := string(body[1 : 1+body[0]])
		body = body[1+body[0]:]
		return s
	}
	ok = count <= maxGapKeys
	for i := uint32(0); ok && i < count; i++ {
		if len(body) < 8 {
			return 0, nil, false
		}
		e := gapEntry{count: binary.BigEndian.Uint64(body)}
		body = body[8:]
		e.zone, e.reason = text(), text()
		entries = append(entries, e)
	}
	return number, entries, ok && len(body) == 0
}

// NoteGap counts n records of a zone that could not be kept, and why. An
// audit_gap record of the zone with the metadata {"count":n,"reason":"..."} is
// appended as soon as there is room; counts of one zone and reason that wait
// together become one record. The count is in a file of the spool when NoteGap
// returns, so it outlives the process; a crash just as the record is written
// may repeat it, never lose it. The zone "" stands for records whose zone is
// not known.
func (s *Spool) NoteGap(zoneID string, n uint64, reason string) {
	if n == 0 {
		return
	}
	s.gaps.note(zoneID, n, reason)
	s.kick()
}

// gapRecords makes the records of the waiting gaps that there is room for.
func (s *Spool) gapRecords() (entries []gapEntry, records [][]byte) {
	if !s.gaps.waiting() {
		return nil, nil
	}
	s.gaps.mu.Lock()
	waiting := s.gaps.sorted()
	s.gaps.mu.Unlock()
	s.mu.Lock()
	room := s.maxBytes - segmentHeaderBytes - s.bytes - s.reserved
	s.mu.Unlock()
	for _, e := range waiting[:min(len(waiting), gapsPerFrame)] {
		r, err := e.record()
		if err != nil {
			s.log.Error("making the record of an audit gap", "error", err)
			break
		}
		if room -= int64(len(r)) + recordOverhead; room < 0 {
			break
		}
		entries, records = append(entries, e), append(records, r)
	}
	return entries, records
}

// gapsFit tells whether a gap waits that there is room for.
func (s *Spool) gapsFit() bool {
	_, records := s.gapRecords()
	return len(records) > 0
}

func (e gapEntry) record() ([]byte, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making an id: %w", err)
	}
	metadata := append([]byte(`{"count":`), strconv.AppendUint(nil, e.count, 10)...)
	metadata = append(metadata, `,"reason":`...)
	if metadata, err = jsontext.AppendQuote(metadata, e.reason); err != nil {
		return nil, fmt.Errorf("quoting the reason: %w", err)
	}
	return AppendRecord(nil, &Record{
		ID: id.String(), EventType: EventGap, ZoneID: e.zone,
		Metadata: append(metadata, '}'), OccurredAt: time.Now().UTC(),
	})
}
