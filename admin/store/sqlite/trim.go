package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/caracalai/caracald/admin/store/relational"
)

// trimChunk is how many events one transaction removes, so that those who
// append need not wait for long.
const trimChunk = 1000

func trim(ctx context.Context, db *database, zoneID string, before time.Time, maxBytes int64) (int64, error) {
	cutoff := int64(math.MinInt64)
	if !before.IsZero() {
		cutoff = relational.Micros(before)
	}
	var total int64
	for {
		var n int64
		err := db.write(ctx, func(t *session) (err error) {
			n, err = trimSome(ctx, t, zoneID, cutoff, maxBytes)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("trimming the audit of zone %s: %w", zoneID, err)
		}
		total += n
		if n < trimChunk {
			return total, nil
		}
	}
}

// candidate is an event that may have to go.
type candidate struct{ seq, at, bytes int64 }

func scanCandidate(r relational.Row, c *candidate) error {
	return r.Scan(relational.Num(&c.seq), relational.Num(&c.at), relational.Num(&c.bytes))
}

// trimSome removes up to trimChunk of the events that must go, oldest first.
func trimSome(ctx context.Context, t *session, zoneID string, cutoff, maxBytes int64) (int64, error) {
	held, err := relational.One(ctx, t, relational.ScanNumber[int64], `SELECT coalesce((SELECT bytes FROM zone_sizes WHERE zone_id = ?), 0)`, zoneID)
	if err != nil {
		return 0, err
	}
	oldest, err := relational.Many(ctx, t, scanCandidate, `SELECT seq, occurred_at, bytes FROM events INDEXED BY events_newest
		WHERE zone_id = ? ORDER BY occurred_at, id LIMIT ?`, zoneID, trimChunk)
	if err != nil {
		return 0, err
	}
	remove, err := t.statement(ctx, `DELETE FROM events WHERE seq = ?`)
	if err != nil {
		return 0, err
	}
	var gone, freed int64
	for _, c := range oldest {
		tooOld := c.at < cutoff
		tooMuch := maxBytes > 0 && held-freed > maxBytes
		if !tooOld && !tooMuch {
			break
		}
		if _, err := remove.ExecContext(ctx, c.seq); err != nil {
			return 0, translate(err)
		}
		gone++
		freed += c.bytes
	}
	if gone == 0 {
		return 0, nil
	}
	_, err = t.exec(ctx, `UPDATE zone_sizes SET events = events - ?, bytes = bytes - ? WHERE zone_id = ?`, gone, freed, zoneID)
	return gone, err
}
