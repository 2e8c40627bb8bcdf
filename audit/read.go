package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Sizes that Next takes where its caller gives none.
const (
	defaultBatchRecords = 4096
	defaultBatchBytes   = 4 << 20
)

// Batch is a run of consecutive records of one epoch.
type Batch struct {
	// Epoch is the UUIDv7 of the numbering.
	Epoch string
	// First is the offset of the first record.
	First uint64
	// PrevHash is the chain's hash before the first record, Hash after the last.
	PrevHash, Hash [32]byte
	Records        []Record
	// raw are the encoded records that the chain is over.
	raw [][]byte
}

// Next is the offset after the last record, which is what Ack takes.
func (b *Batch) Next() uint64 { return b.First + uint64(len(b.Records)) }

// Verify checks that the records lead from PrevHash to Hash; its error is ErrChain.
func (b *Batch) Verify() error {
	raw, err := b.encoded()
	if err != nil {
		return err
	}
	return VerifyChain(b.PrevHash, b.First, raw, b.Hash)
}

// encoded returns the bytes of the records, made now for a batch that was put
// together by hand.
func (b *Batch) encoded() ([][]byte, error) {
	if len(b.raw) == len(b.Records) {
		return b.raw, nil
	}
	raw := make([][]byte, len(b.Records))
	for i := range b.Records {
		var err error
		if raw[i], err = AppendRecord(nil, &b.Records[i]); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// spoolReader is where the last call of Next stood.
type spoolReader struct {
	name string
	file file
	// start and end are the frame boundaries around the last batch, each in
	// the segment of that name.
	start, end cursor
	buf        frameBuffer
}

type cursor struct {
	segment string
	at      position
}

func (r *spoolReader) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file, r.name = nil, ""
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing a segment: %w", err)
	}
	return nil
}

// forget lets go of a segment that is being removed.
func (r *spoolReader) forget(name string) {
	if r.name == name {
		_ = r.close() // nothing was written through it
	}
	if r.start.segment == name {
		r.start = cursor{}
	}
	if r.end.segment == name {
		r.end = cursor{}
	}
}

// open makes a segment the one that is read.
func (r *spoolReader) open(d disk, name string) error {
	if r.name == name {
		return nil
	}
	if err := r.close(); err != nil {
		return err
	}
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("opening a segment: %w", err)
	}
	r.file, r.name = f, name
	return nil
}

// EncodedBatch is a run of consecutive records as the spool has them: what a
// daemon sends on without looking into it.
type EncodedBatch struct {
	// Epoch is the UUIDv7 of the numbering.
	Epoch string
	// First is the offset of the first record, Count how many there are.
	First uint64
	Count int
	// After is the offset that was acknowledged when the batch was read; where
	// First is beyond it, the records between cannot be read.
	After uint64
	// PrevHash is the chain's hash before the first record, Hash after the last.
	PrevHash, Hash [32]byte
	// Pause is slept between the steps of reading and of encoding the batch, so that
	// who decides beside it does not wait for all of it. 0 only lets others go first.
	Pause time.Duration
	// payload is the records, each after its length, as on the wire.
	payload []byte
}

// rest lets others go first.
func (b *EncodedBatch) rest() {
	if b.Pause > 0 {
		time.Sleep(b.Pause)
	} else {
		runtime.Gosched()
	}
}

// Next is the offset after the last record, which is what Ack takes.
func (b *EncodedBatch) Next() uint64 { return b.First + uint64(b.Count) }

// Decode gives the batch with its records. ErrFormat: one of them is none.
func (b *EncodedBatch) Decode() (Batch, error) {
	raw, err := splitRecords(nil, b.payload, b.Count)
	if err != nil {
		return Batch{}, err
	}
	out := Batch{Epoch: b.Epoch, First: b.First, PrevHash: b.PrevHash, Hash: b.Hash, raw: raw}
	for _, one := range raw {
		r, err := DecodeRecord(one)
		if err != nil {
			return Batch{}, fmt.Errorf("offset %d: %w", out.Next(), err)
		}
		out.Records = append(out.Records, r)
	}
	return out, nil
}

// Next is NextEncoded with the records decoded.
func (s *Spool) Next(ctx context.Context, maxRecords, maxBytes int) (Batch, error) {
	var b EncodedBatch
	if err := s.NextEncoded(ctx, &b, maxRecords, maxBytes); err != nil {
		return Batch{}, err
	}
	out, err := b.Decode()
	if err != nil {
		return Batch{}, fmt.Errorf("reading the audit spool: %w", err)
	}
	return out, nil
}

// NextEncoded puts the records that follow the acknowledged offset into b, whose room
// it uses again: at least one and, where more than one, at most maxRecords with at
// most maxBytes of encoded records together (zero or less: 4096 records, 4 MiB). It waits until there is
// one, the context ends or the spool is closed (ErrClosed). Without an Ack it
// returns the same records again. Nothing is returned that is not durable,
// whatever the spool's durability.
//
// A batch ends before offsets that cannot be read, and the batch after that has
// a First beyond the acknowledged offset.
func (s *Spool) NextEncoded(ctx context.Context, b *EncodedBatch, maxRecords, maxBytes int) error {
	if maxRecords <= 0 {
		maxRecords = defaultBatchRecords
	}
	if maxBytes <= 0 {
		maxBytes = defaultBatchBytes
	}
	for {
		s.mu.Lock()
		notify, closing, ready := s.notify, s.closing, s.next > s.acked
		// What is there but not durable yet is no sooner read for more of it.
		early := ready && s.durability == SyncNone && s.synced <= s.acked
		s.waiting = !early
		s.mu.Unlock()
		if closing {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for audit records: %w", err)
		}
		if ready {
			if err := s.read(b, maxRecords, maxBytes); err != nil {
				return fmt.Errorf("reading the audit spool: %w", err)
			}
			if b.Count > 0 {
				return nil
			}
		}
		var later <-chan time.Time
		if ready && s.durability == SyncNone {
			later = time.After(max(s.syncWait(), time.Millisecond))
		}
		if early {
			notify = s.ending
		}
		select {
		case <-notify:
		case <-later:
		case <-ctx.Done():
		}
	}
}

// read gathers a batch, empty when no record can be read yet.
func (s *Spool) read(b *EncodedBatch, maxRecords, maxBytes int) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing {
		return ErrClosed // nothing may be opened any more
	}
	if err := s.syncForReading(); err != nil {
		return err
	}
	s.mu.Lock()
	segments := append([]segment(nil), s.segments...)
	acked, durable := s.acked, s.synced
	s.mu.Unlock()

	s.reader.buf.forget()
	*b = EncodedBatch{Epoch: s.epoch.String(), After: acked, Pause: b.Pause, payload: b.payload[:0]}
	g := gathering{EncodedBatch: b, acked: acked, records: maxRecords, bytes: maxBytes}
	from := s.startOf(segments, acked)
	started := false
	for i, seg := range segments {
		if started = started || seg.name == from.segment; !started {
			continue
		}
		limit := durable
		if i+1 < len(segments) {
			limit = min(limit, segments[i+1].first)
		}
		at := position{pos: segmentHeaderBytes, offset: seg.first}
		if seg.name == from.segment {
			at = from.at
		}
		if at.offset >= limit {
			continue
		}
		if err := s.reader.open(s.disk, seg.name); err != nil {
			return err
		}
		w := walk{r: s.reader.file, size: seg.size, limit: limit, at: at, buf: &s.reader.buf, checked: true}
		full, err := s.gatherSegment(&g, &w, seg.name)
		if err != nil {
			return err
		}
		if full {
			break
		}
	}
	if b.Count > 0 && b.First > acked {
		s.mu.Lock()
		s.addHole(acked, b.First)
		s.mu.Unlock()
	}
	return nil
}

// gathering is a batch in the making.
type gathering struct {
	*EncodedBatch
	acked          uint64
	records, bytes int
}

// gatherSegment adds the frames of one segment, and tells when the batch is complete.
func (s *Spool) gatherSegment(g *gathering, w *walk, name string) (full bool, err error) {
	for rested := len(g.payload); ; {
		if len(g.payload)-rested >= restBytes {
			g.rest()
			rested = len(g.payload)
		}
		before := w.at
		h, records, _, err := w.next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if h.next() <= g.acked {
			continue
		}
		if g.Count == 0 {
			s.reader.start = cursor{name, before}
		}
		took, full := g.add(h, records, w.buf.payload)
		if took {
			s.reader.end = cursor{name, w.at}
		} else {
			s.reader.end = cursor{name, before}
		}
		if full {
			return true, nil
		}
	}
}

// add appends the records of a frame, whose payload is as it is on the wire. took
// tells whether all of them are in, full that the batch takes no more.
func (g *gathering) add(h frameHeader, records [][]byte, payload []byte) (took, full bool) {
	next := g.First + uint64(g.Count)
	switch {
	case g.Count == 0:
		c := chain{offset: h.first, hash: h.prev}
		for c.offset < g.acked {
			c.add(records[0])
			payload = payload[recordPrefixBytes+len(records[0]):]
			records = records[1:]
		}
		g.First, g.PrevHash, g.Hash = c.offset, c.hash, c.hash
	case h.first != next || h.prev != g.Hash:
		return false, true
	}
	size := len(payload) - recordPrefixBytes*len(records)
	if whole := g.Count+len(records) <= g.records && size <= g.bytes; whole {
		g.payload = append(g.payload, payload...)
		g.Count += len(records)
		g.bytes -= size
		g.Hash = h.hash
		return true, g.Count >= g.records
	}
	c := chain{offset: g.Next(), hash: g.Hash}
	for _, r := range records {
		if g.Count > 0 && (g.Count >= g.records || len(r) > g.bytes) {
			g.Hash = c.hash
			return false, true
		}
		g.take(r)
		c.add(r)
	}
	g.Hash = c.hash
	return true, g.Count >= g.records
}

// take appends one record.
func (g *gathering) take(r []byte) {
	g.bytes -= len(r)
	g.payload = binary.BigEndian.AppendUint32(g.payload, uint32(len(r)))
	g.payload = append(g.payload, r...)
	g.Count++
}

// startOf is the latest frame boundary known to be at or before an offset.
func (s *Spool) startOf(segments []segment, offset uint64) cursor {
	best := cursor{segment: segments[0].name, at: position{pos: segmentHeaderBytes, offset: segments[0].first}}
	for _, seg := range segments {
		if seg.first <= offset {
			best = cursor{segment: seg.name, at: position{pos: segmentHeaderBytes, offset: seg.first}}
		}
	}
	for _, c := range [...]cursor{s.reader.start, s.reader.end} {
		if c.segment != "" && c.at.offset <= offset && c.at.offset >= best.at.offset {
			best = c
		}
	}
	return best
}

// syncPause is the least time between two of its kind that only reading asks for.
const syncPause = 500 * time.Millisecond

// syncWait is how long reading has to wait until it may make more durable.
func (s *Spool) syncWait() time.Duration {
	if s.durability != SyncNone {
		return 0
	}
	return time.Until(time.Unix(0, s.lastSync.Load()).Add(s.syncPause))
}

// syncForReading makes what SyncNone left to the operating system durable: a
// record that was delivered and then lost would leave its offset to another.
//
// It is not done again and again: who writes has to wait while the disk is busy.
func (s *Spool) syncForReading() error {
	if s.syncWait() > 0 {
		return nil
	}
	s.lastSync.Store(time.Now().UnixNano())
	s.mu.Lock()
	next, synced := s.next, s.synced
	var segments []segment
	if synced < next {
		segments = append(segments, s.segments...)
	}
	s.mu.Unlock()
	for _, seg := range segments {
		if seg.end <= synced {
			continue
		}
		if err := s.reader.open(s.disk, seg.name); err != nil {
			return err
		}
		if err := s.reader.file.Sync(); err != nil {
			return fmt.Errorf("%w: making records durable: %w", ErrSpoolFailed, err)
		}
	}
	s.mu.Lock()
	s.synced = max(s.synced, next)
	s.mu.Unlock()
	return nil
}
