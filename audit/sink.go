package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Sink is where a daemon's records go from its spool.
//
// Batches of a daemon come one at a time and in order. One that was taken may
// come again, whole or as part of another, after a crash; and so each record
// reaches a sink at least once.
type Sink interface {
	// Name says what kind of sink it is, in a word for logs and metrics.
	Name() string
	// Take makes a batch durable, or the first records of it, and tells the
	// offset after the last one it took and how many bytes it sent or wrote.
	// When it returns without an error, the daemon forgets these records.
	//
	// Some errors are refusals that sending the same again does not change:
	// ErrChain of the whole batch, ErrReach of some zone's records in it,
	// ErrLimit and ErrRejected of its first record alone. Any other error is for
	// trying again.
	Take(ctx context.Context, daemonID string, b *EncodedBatch) (next uint64, size int, err error)
	// Close gives back what the sink holds.
	Close() error
}

// Errors of sinks and receivers, beside ErrChain and ErrLimit.
var (
	// ErrRejected: a sink answered that it does not take a record.
	ErrRejected = errors.New("audit sink rejects a record")
	// ErrReach: a sink does not take records of one of the batch's zones from
	// this daemon.
	ErrReach = errors.New("audit sink does not take records of this zone")
	// ErrEarly: a delivery came before the one that it follows was stored.
	ErrEarly = errors.New("audit batch came before the one it follows")
	// ErrPoison: a delivery can never be stored, however often it comes.
	ErrPoison = errors.New("audit batch cannot be stored")
)

// Delivery is a batch as a queue hands it over: perhaps not for the first time,
// and perhaps before the one that it follows.
type Delivery struct {
	// DaemonID is whose batch it is by the queue's word, which guards who may
	// put what where. The batch has to say the same.
	DaemonID string
	// Batch is encoded as EncodeBatch does.
	Batch []byte
	// After is an offset: the daemon handed the records below it to the queue
	// before, or counted them as gaps. What is between it and the batch's first
	// record was lost on the daemon's disk.
	After uint64
	// Settled says that nothing that was in the queue before can come any more.
	Settled bool
}

// Receiver stores deliveries, each record once, in order for each daemon.
type Receiver interface {
	// Receive returns nil when the delivery's records are durable. ErrEarly: the
	// records below After are not stored, and they may still come, since the
	// delivery is not settled. ErrPoison: the delivery is refused for good, and
	// what it held is counted as a gap as far as that can be known; the error
	// begins with the reason. Any other error is for trying again.
	Receive(ctx context.Context, d Delivery) error
}

// Poison is the error of a delivery that can never be stored.
type Poison struct {
	// Reason is one word: malformed, wrong_daemon, too_large or chain_mismatch.
	Reason string
	// Records is how many records it says it has, 0 where that cannot be read.
	Records int
	Err     error
}

func (p *Poison) Error() string { return p.Reason + ": " + p.Err.Error() }

// Unwrap makes errors.Is find ErrPoison and the cause.
func (p *Poison) Unwrap() []error { return []error{ErrPoison, p.Err} }

// Cut leaves the first n records of a batch, and at least one. ErrFormat: the
// records are damaged.
func (b *EncodedBatch) Cut(n int) error {
	if n = max(n, 1); n >= b.Count {
		return nil
	}
	raw, plain, err := b.split()
	if err != nil {
		return fmt.Errorf("cutting an audit batch: %w", err)
	}
	c := chain{offset: b.First, hash: b.PrevHash}
	size := 0
	for _, r := range raw[:n] {
		c.add(r)
		size += recordPrefixBytes + len(r)
	}
	b.Count, b.Hash, b.payload, b.primer, b.size = n, c.hash, plain[:size], b.primer[:0], size
	return nil
}

// Size is how many bytes the encoded records have before they are compressed, each
// after its length.
func (b *EncodedBatch) Size() int { return b.size }

// Oldest is when the first record occurred, zero where it cannot be read.
func (b *EncodedBatch) Oldest() time.Time {
	first := b.payload
	if len(b.primer) > 0 {
		var err error
		if first, _, err = expand(nil, first, b.primer, MaxRecordBytes); err != nil {
			return time.Time{}
		}
	} else if first = first[min(len(first), recordPrefixBytes):]; len(first) > 0 {
		first = first[:min(len(first), int(binary.BigEndian.Uint32(b.payload)))]
	}
	r, err := DecodeRecord(first)
	if err != nil {
		return time.Time{}
	}
	return r.OccurredAt
}
