package relational

import (
	"context"
	"errors"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// TakeLease takes or renews a lease. now is what the clock says that all
// holders share: those of machines may differ.
func TakeLease(ctx context.Context, s Session, name, holder string, now time.Time, ttl time.Duration) (generation int64, err error) {
	at := Micros(now)
	generation, err = One(ctx, s, ScanNumber[int64], `INSERT INTO leases (name, holder, generation, until) VALUES (?, ?, 1, ?)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			generation = leases.generation + CASE WHEN leases.holder = excluded.holder AND leases.until > ? THEN 0 ELSE 1 END
		WHERE leases.holder = excluded.holder OR leases.until <= ?
		RETURNING generation`, name, holder, Micros(now.Add(ttl)), at, at)
	if errors.Is(err, store.ErrNotFound) { // nothing was written
		return 0, store.ErrHeld
	}
	return generation, err
}

// ReleaseLease ends a lease. Its row stays, because generations go on.
func ReleaseLease(ctx context.Context, s Session, name, holder string) error {
	_, err := s.Exec(ctx, `UPDATE leases SET until = 0 WHERE name = ? AND holder = ?`, name, holder)
	return err
}
