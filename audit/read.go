package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
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
	// primed is the primer of the segment primedOf.
	primed   *primed
	primedOf string
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
	if r.primedOf == name {
		r.primedOf = ""
	}
}

// open gives the file of a segment, which stays open until another one is opened.
func (r *spoolReader) open(d disk, seg segment) (file, error) {
	if seg.mapped != nil && !seg.mapped.faulty.Load() {
		return seg.mapped, nil
	}
	if r.name == seg.name {
		return r.file, nil
	}
	if err := r.close(); err != nil {
		return nil, err
	}
	f, err := d.open(seg.name, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	r.file, r.name = f, seg.name
	return f, nil
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
	// payload is the records, each after its length or, where there is a primer, as in
	// a primed frame, in the order of the wire.
	payload []byte
	primer  []byte
	// size is how long they are, each after its length.
	size int
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
	raw, _, err := b.split()
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

// plain is the payload with each record after its length.
func (b *EncodedBatch) plain() ([]byte, error) {
	if len(b.primer) == 0 {
		return b.payload, nil
	}
	return expandAll(make([]byte, 0, b.size), b.payload, b.primer, b.Count, b.size)
}

// split gives the records, which lie in the plain payload.
func (b *EncodedBatch) split() (records [][]byte, plain []byte, err error) {
	if plain, err = b.plain(); err != nil {
		return nil, nil, err
	}
	records, err = splitRecords(nil, plain, b.Count)
	return records, plain, err
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
	*b = EncodedBatch{Epoch: s.epoch.String(), After: acked, Pause: b.Pause, payload: b.payload[:0], primer: b.primer[:0]}
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
		f, err := s.reader.open(s.disk, seg)
		if err != nil {
			return err
		}
		w := walk{r: f, size: seg.size, limit: limit, at: at, buf: &s.reader.buf, primed: s.reader.primerOf(seg), checked: true, packed: true}
		full, err := s.gatherSegment(&g, &w, seg)
		if err != nil {
			return err
		}
		if full {
			break
		}
	}
	if g.primedBy != nil {
		b.primer = append(b.primer, g.primedBy.text...)
	}
	if b.Count > 0 && b.First > acked {
		s.mu.Lock()
		s.addHole(acked, b.First)
		s.mu.Unlock()
	}
	return nil
}

// primerOf is what is known of a segment's primer.
func (r *spoolReader) primerOf(seg segment) *primed {
	if r.primedOf != seg.name {
		r.primed, r.primedOf = &primed{offset: seg.first}, seg.name
	}
	return r.primed
}

// gathering is a batch in the making.
type gathering struct {
	*EncodedBatch
	acked          uint64
	records, bytes int
	// primedBy is the primer with which the payload is made, nil as long as there is
	// none.
	primedBy *primed
}

// gatherSegment adds the frames of one segment, and tells when the batch is complete.
func (s *Spool) gatherSegment(g *gathering, w *walk, seg segment) (full bool, err error) {
	if seg.mapped != nil {
		defer seg.mapped.guard(debug.SetPanicOnFault(true), &err)
	}
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
			s.reader.start = cursor{seg.name, before}
		}
		took, full, err := g.add(h, records, w)
		if err != nil {
			return false, err
		}
		if took {
			s.reader.end = cursor{seg.name, w.at}
		} else {
			s.reader.end = cursor{seg.name, before}
		}
		if full {
			return true, nil
		}
	}
}

// add appends the records of a frame, which are nil where it is a primed one. took
// tells whether all of them are in, full that the batch takes no more.
func (g *gathering) add(h frameHeader, records [][]byte, w *walk) (took, full bool, err error) {
	primed := h.codec == codecPrimed
	switch {
	case g.Count > 0 && (h.first != g.Next() || h.prev != g.Hash):
		return false, true, nil
	case primed && g.primedBy != nil && g.primedBy != w.primed: // of another segment
		return false, true, nil
	case primed && g.primedBy == nil:
		g.primedBy = w.primed
		if err := g.literal(); err != nil {
			return false, true, err
		}
	}
	size := w.buf.plainSize
	if !primed {
		size = len(w.buf.payload)
	}
	fits := g.Count+h.count <= g.records && size-recordPrefixBytes*h.count <= g.bytes
	if fits && (g.Count > 0 || h.first >= g.acked) {
		if g.Count == 0 {
			g.First, g.PrevHash = h.first, h.prev
		}
		switch {
		case primed:
			g.payload = append(g.payload, w.buf.primed...)
		case g.primedBy == nil:
			g.payload = append(g.payload, w.buf.payload...)
		default:
			for _, r := range records {
				g.payload = appendLiteral(g.payload, r)
			}
		}
		g.Count += h.count
		g.size += size
		g.bytes -= size - recordPrefixBytes*h.count
		g.Hash = h.hash
		return true, g.Count >= g.records, nil
	}
	return g.addSome(h, records, w)
}

// addSome appends those records of a frame that are not acknowledged and for which
// there is room.
func (g *gathering) addSome(h frameHeader, records [][]byte, w *walk) (took, full bool, err error) {
	if h.codec == codecPrimed {
		if records, err = w.buf.split(h, w.buf.payload, &w.primed.primerText, true); err != nil {
			return false, true, err
		}
	}
	c := chain{offset: h.first, hash: h.prev}
	for _, r := range records {
		if c.offset < g.acked {
			c.add(r)
			continue
		}
		if g.Count == 0 {
			g.First, g.PrevHash = c.offset, c.hash
		} else if g.Count >= g.records || len(r) > g.bytes {
			return false, true, nil
		}
		if g.primedBy != nil {
			g.payload = appendLiteral(g.payload, r)
		} else {
			g.payload = appendPlain(g.payload, r)
		}
		c.add(r)
		g.Count++
		g.size += recordPrefixBytes + len(r)
		g.bytes -= len(r)
		g.Hash = c.hash
	}
	return true, g.Count >= g.records, nil
}

// literal makes what was gathered so far be as in primed frames.
func (g *gathering) literal() error {
	if g.Count == 0 {
		return nil
	}
	records, err := splitRecords(nil, g.payload, g.Count)
	if err != nil {
		return err
	}
	payload := make([]byte, 0, 2*len(g.payload))
	for _, r := range records {
		payload = appendLiteral(payload, r)
	}
	g.payload = payload
	return nil
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

// syncForReading makes it safe, where it is left to the operating system when records
// reach the disk, to deliver those that were written so far: a record that was
// delivered and then lost with the machine would leave its offset to another. So the
// offset is made durable. The records need not be: an fsync of so much takes long, and
// more where segments lie in memory, of which it has each page watched anew.
//
// It is not done again and again: who writes has to wait while the disk is busy.
func (s *Spool) syncForReading() error {
	if s.durability != SyncNone || s.syncWait() > 0 {
		return nil
	}
	s.lastSync.Store(time.Now().UnixNano())
	s.mu.Lock()
	next, synced := s.next, s.synced
	s.mu.Unlock()
	if synced == next {
		return nil
	}
	if err := s.offerMark().store(s.disk, s.epoch, next); err != nil {
		return err
	}
	s.mu.Lock()
	s.synced = max(s.synced, next)
	s.mu.Unlock()
	return nil
}
