package audit

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// Records of one daemon are much alike. So a frame that is appended to a segment has
// only what its records do not share with the segment's primer, the beginnings of
// the plain frames before it: a seventh of it, mostly, for half of the time that
// Zstandard takes, and all that is done with records from there on goes through that
// much less. docs/formats/spool.md has the layout.
const (
	// primerMost is the longest primer, so that a position in it has 16 bits, and
	// primerOfFrame what one plain frame adds to it at most.
	primerMost    = 60 << 10
	primerOfFrame = 8 << 10
	// primerMatch is the least that is worth being referred to.
	primerMatch = 8
	// primerOnward is how far a record is compared with what follows in the primer before
	// the table is asked: an id and what stands around it.
	primerOnward = 48
	// primerTableBits is of how many places a primer remembers what is there.
	primerTableBits = 14
	// primedMost is the largest record that is compared with a primer; others are
	// mostly an input of their own.
	primedMost = 64 << 10
	// primedHeaderBytes stands before the records of a primed frame: the length of the
	// primer, its checksum, and how long the records are with their lengths.
	primedHeaderBytes = 12
	// literalOverhead is what a record takes in a primed frame beside its own bytes,
	// where nothing of it is in the primer, at most.
	literalOverhead = 5
)

// primerText is a primer as a reader gathers it.
type primerText struct {
	text []byte
	// sum is the checksum of the first sumOf bytes.
	sum   uint32
	sumOf int
}

// primerPart is what a plain frame's payload adds to a primer that has so many bytes.
func primerPart(has int, payload []byte) []byte {
	return payload[:min(len(payload), primerOfFrame, primerMost-has)]
}

func (p *primerText) add(payload []byte) {
	p.text = append(p.text, primerPart(len(p.text), payload)...)
}

// part gives the first bytes of the primer, where they have a checksum: they are what
// a frame was made with.
func (p *primerText) part(n uint32, sum uint32) ([]byte, bool) {
	if int64(n) > int64(len(p.text)) {
		return nil, false
	}
	if p.sumOf != int(n) {
		p.sum, p.sumOf = crc32.Checksum(p.text[:n], castagnoli), int(n)
	}
	return p.text[:n], p.sum == sum
}

// primer is a primer as a writer uses it. It does not change: a longer one is another.
type primer struct {
	// turn is the number of its segment.
	turn uint64
	text []byte
	sum  uint32
	// table has the last position at which eight bytes of a hash begin.
	table [1 << primerTableBits]uint16
}

// newPrimer makes the primer of a segment, nil where it has none yet.
func newPrimer(turn uint64, text []byte) *primer {
	if len(text) < primerMatch {
		return nil
	}
	p := &primer{turn: turn, text: text, sum: crc32.Checksum(text, castagnoli)}
	for at := range len(text) - primerMatch + 1 {
		p.table[primerHash(binary.LittleEndian.Uint64(text[at:]))] = uint16(at)
	}
	return p
}

// extended is the primer after one more plain frame. p may be nil.
func (p *primer) extended(turn uint64, payload []byte) *primer {
	var text []byte
	if p != nil {
		text = p.text
	}
	part := primerPart(len(text), payload)
	if len(part) == 0 {
		return p
	}
	return newPrimer(turn, append(text[:len(text):len(text)], part...))
}

// full tells whether nothing is added any more.
func (p *primer) full() bool { return len(p.text) == primerMost }

func primerHash(x uint64) uint32 { return uint32(x * 0x9E3779B185EBCA87 >> (64 - primerTableBits)) }

// appendPrimed appends a record as it stands in a primed frame: in turn, bytes of its
// own after their number, and of how many bytes that follow the primer has the same,
// and how far from where the last such bytes ended, with these own ones in between, they are. 0 of
// them end the record.
func (p *primer) appendPrimed(dst, record []byte) []byte {
	text := p.text
	own, at := 0, 0 // what of the record is not written yet, and its place in the primer if all goes on alike
	for pos := 0; pos+primerMatch <= len(record); {
		from, ok := p.onward(record, pos, at-own)
		if ok {
			pos = from - (at - own)
		} else {
			if pos, from, ok = p.find(record, pos); !ok {
				break
			}
			for pos > own && from > 0 && record[pos-1] == text[from-1] {
				pos, from = pos-1, from-1
			}
		}
		n := primerMatch + alike(record[pos+primerMatch:], text[from+primerMatch:])
		dst = binary.AppendUvarint(dst, uint64(pos-own))
		dst = append(dst, record[own:pos]...)
		dst = binary.AppendUvarint(dst, uint64(n))
		dst = binary.AppendVarint(dst, int64(from-(at+pos-own)))
		at, pos = from+n, pos+n
		own = pos
	}
	return appendLiteral(dst, record[own:])
}

// onward looks for where a record goes on as the primer does, by bytes further there,
// from a position on. Ids are mostly as long as others in their place, so that what
// follows one is found without asking the table for each of its bytes.
func (p *primer) onward(record []byte, pos, by int) (from int, ok bool) {
	text := p.text
	for last := min(pos+primerOnward, len(record)-primerMatch, len(text)-primerMatch-by); pos <= last; {
		x := differing(record[pos:], text[pos+by:])
		if x == 0 {
			return pos + by, true
		}
		pos += primerMatch - bits.LeadingZeros64(x)/8 // behind the last byte that differs
	}
	return 0, false
}

// find looks for the next position of a record from which the primer has the same
// bytes, and where. What begins in between is found from its rest.
func (p *primer) find(record []byte, pos int) (at, from int, ok bool) {
	for begin := pos; pos+primerMatch <= len(record); pos += 1 + (pos-begin)>>3 {
		x := binary.LittleEndian.Uint64(record[pos:])
		from = int(p.table[primerHash(x)])
		if binary.LittleEndian.Uint64(p.text[from:]) == x {
			return pos, from, true
		}
	}
	return 0, 0, false
}

// appendLiteral appends the end of a record as it stands in a primed frame, or all of
// one that has nothing of the primer.
func appendLiteral(dst, record []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(record)))
	return append(append(dst, record...), 0)
}

// alike counts the bytes that two begin with alike.
func alike(a, b []byte) int {
	most := min(len(a), len(b))
	a, b = a[:most], b[:most]
	for ; len(a) >= 32 && len(b) >= 32; a, b = a[32:], b[32:] {
		if differing(a, b)|differing(a[8:], b[8:])|differing(a[16:], b[16:])|differing(a[24:], b[24:]) != 0 {
			break
		}
	}
	for ; len(a) >= 8 && len(b) >= 8; a, b = a[8:], b[8:] {
		if x := differing(a, b); x != 0 {
			return most - len(a) + bits.TrailingZeros64(x)/8
		}
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	return most - len(a)
}

// differing has a bit set for each one that differs in the first eight bytes.
func differing(a, b []byte) uint64 {
	return binary.LittleEndian.Uint64(a) ^ binary.LittleEndian.Uint64(b)
}

// expand appends the record that primed begins with to dst, of which most bytes are
// allowed, and gives what follows it. ErrFormat.
func expand(dst, primed, text []byte, most int) (_, rest []byte, err error) {
	at := 0
	for {
		own, primed1, ok := uvarint(primed)
		if !ok || own > uint64(len(primed1)) || own > uint64(most) {
			return dst, nil, fmt.Errorf("%w: %d bytes of a record", ErrFormat, own)
		}
		dst, primed = append(dst, primed1[:own]...), primed1[own:]
		most -= int(own)
		shared, primed2, ok := uvarint(primed)
		if !ok {
			return dst, nil, fmt.Errorf("%w: a record does not end", ErrFormat)
		}
		if primed = primed2; shared == 0 {
			return dst, primed, nil
		}
		by, n := binary.Varint(primed)
		if n <= 0 || by < -primerMost || by > primerMost {
			return dst, nil, fmt.Errorf("%w: a place in the primer", ErrFormat)
		}
		primed = primed[n:]
		if at += int(own) + int(by); at < 0 || at > len(text) || shared > uint64(len(text)-at) || shared > uint64(most) {
			return dst, nil, fmt.Errorf("%w: %d bytes at %d of a primer of %d", ErrFormat, shared, at, len(text))
		}
		dst = append(dst, text[at:at+int(shared)]...)
		at += int(shared)
		most -= int(shared)
	}
}

func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// expandAll appends count records to dst, each after its length, size bytes in all.
// ErrFormat.
func expandAll(dst, primed, text []byte, count, size int) ([]byte, error) {
	begin := len(dst)
	for range count {
		at := len(dst)
		most := min(size-(at-begin)-recordPrefixBytes, MaxRecordBytes)
		if most < 1 {
			return dst, fmt.Errorf("%w: records of more than %d bytes", ErrFormat, size)
		}
		var err error
		if dst, primed, err = expand(append(dst, 0, 0, 0, 0), primed, text, most); err != nil {
			return dst, err
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-recordPrefixBytes))
	}
	if len(primed) > 0 || len(dst)-begin != size {
		return dst, fmt.Errorf("%w: %d bytes of records where %d were told, and %d bytes after them", ErrFormat, len(dst)-begin, size, len(primed))
	}
	return dst, nil
}
