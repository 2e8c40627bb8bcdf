package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/audit"
)

// adminSink hands audit to the admin side, which keeps it in its store.
type adminSink struct {
	up *upstream
	// most is how many records a batch may have where something on the way there,
	// such as a proxy, takes no more; 0 where nothing is known to.
	most int
}

func (s *adminSink) Name() string { return "admin" }

// Take sends a batch, or as much of its beginning as is taken at once. The admin side
// answers after it stored it.
func (s *adminSink) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	if s.most > 0 {
		if err := b.Cut(s.most); err != nil {
			return 0, 0, err
		}
	}
	for {
		next, size, err = s.send(ctx, daemonID, b)
		if status, _ := refusedWith(err); status != http.StatusRequestEntityTooLarge {
			if err == nil && s.most > 0 {
				s.most = 2 * b.Count // perhaps these were larger than others
			}
			return next, size, err
		}
		if b.Count == 1 {
			return 0, 0, fmt.Errorf("%w: %w", audit.ErrLimit, err)
		}
		s.most = b.Count / 2
		if err := b.Cut(s.most); err != nil {
			return 0, 0, err
		}
	}
}

func (s *adminSink) send(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	data, err := b.Append(nil, daemonID)
	if err != nil {
		return 0, 0, fmt.Errorf("encoding a batch: %w", err)
	}
	_, answer, err := s.up.call(ctx, http.MethodPost, "/v1/audit/batches", "application/vnd.caracal.audit-batch", data, 1<<20)
	switch status, code := refusedWith(err); {
	case status == http.StatusConflict:
		return 0, 0, fmt.Errorf("%w: %w", audit.ErrChain, err)
	case status == http.StatusForbidden && code != codeTaken:
		return 0, 0, fmt.Errorf("%w: %w", audit.ErrReach, err)
	case err != nil:
		return 0, 0, err
	}
	var accepted struct {
		NextOffset uint64 `json:"next_offset"`
	}
	if err := json.Unmarshal(answer, &accepted); err != nil {
		return 0, 0, fmt.Errorf("reading the answer to a batch: %w", err)
	}
	return accepted.NextOffset, len(data), nil
}

func (s *adminSink) Close() error { return nil }
