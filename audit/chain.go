package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// ChainHash returns the hash of the chain after one more record:
// SHA-256(prev || offset as 8 bytes, big-endian || record). The chain of an
// epoch starts from 32 zero bytes before offset 0.
func ChainHash(prev [32]byte, offset uint64, record []byte) [32]byte {
	var c chain
	c.hash = prev
	c.offset = offset
	c.add(record)
	return c.hash
}

// VerifyChain checks that records, the first of which has the offset first,
// lead the chain from prev to want. Its error is ErrChain.
func VerifyChain(prev [32]byte, first uint64, records [][]byte, want [32]byte) error {
	c := chain{hash: prev, offset: first}
	for _, r := range records {
		c.add(r)
	}
	if c.hash != want {
		return fmt.Errorf("%w: offsets %d to %d lead to %x, not to %x", ErrChain, first, c.offset, c.hash, want)
	}
	return nil
}

// chain is a position in the hash chain: the next offset and the hash before it.
type chain struct {
	offset uint64
	hash   [32]byte
	buf    []byte
}

// add moves the chain past one record. The bytes are gathered into one buffer
// that the chain keeps, which is cheaper than a running hash for records of
// about a kilobyte and allocates nothing once the buffer has grown.
func (c *chain) add(record []byte) {
	c.buf = append(append(c.buf[:0], make([]byte, chainedBytes)...), record...)
	c.addBehind(c.buf)
}

// chainedBytes is the room that a record takes before it for the chain.
const chainedBytes = sha256.Size + 8

// addBehind is add of a record with that room before it.
func (c *chain) addBehind(buf []byte) {
	copy(buf, c.hash[:])
	binary.BigEndian.PutUint64(buf[sha256.Size:], c.offset)
	c.hash = sha256.Sum256(buf)
	c.offset++
}
