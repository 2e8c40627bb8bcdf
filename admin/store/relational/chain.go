package relational

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/caracalai/caracald/admin/store"
)

// chainDomain keeps an entry's hash from being the hash of anything else.
const chainDomain = "caracal.admin_event/v1"

// ChainHash is SHA-256, in lower-case hex, over the domain, the hash before ("" for the
// first entry), and everything the entry says, in the order below: each as its
// length in 8 bytes, big-endian, and its bytes; numbers in decimal, the time in
// microseconds since 1970. No two entries have one encoding.
func ChainHash(before string, e store.AdminEvent) string {
	h := sha256.New()
	for _, part := range []string{
		chainDomain, before, strconv.FormatInt(e.ChainSeq, 10), e.ID, e.RequestID, e.ZoneID, e.ActorID, e.ActorName, e.Action,
		e.EntityType, e.EntityID, strconv.Itoa(e.StatusCode), string(e.Payload), strconv.FormatInt(Micros(e.OccurredAt), 10),
	} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}
