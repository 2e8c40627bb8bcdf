package postgres

import (
	"context"
	"time"

	"github.com/caracalai/caracald/admin/store/relational"
)

// Lease takes or renews a lease, by the database's clock. It waits for no
// Update, so that a busy store loses no lease.
func (s *Store) Lease(ctx context.Context, name, holder string, ttl time.Duration) (generation int64, err error) {
	err = write(ctx, s.readers, func(t *session) error {
		now, err := relational.One(ctx, t, relational.ScanNumber[int64], `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT`)
		if err != nil {
			return err
		}
		generation, err = relational.TakeLease(ctx, t, name, holder, time.UnixMicro(now), ttl)
		return err
	})
	return generation, err
}

// Release gives a lease back.
func (s *Store) Release(ctx context.Context, name, holder string) error {
	return write(ctx, s.readers, func(t *session) error { return relational.ReleaseLease(ctx, t, name, holder) })
}
