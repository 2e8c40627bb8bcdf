package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/audit"
)

// adminSink hands audit to the admin side, which keeps it in its store.
type adminSink struct{ up *upstream }

func (s *adminSink) Name() string { return "admin" }

// Take sends a batch. The admin side answers after it stored it.
func (s *adminSink) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	data, err := b.Append(nil, daemonID)
	if err != nil {
		return 0, 0, fmt.Errorf("encoding a batch: %w", err)
	}
	_, answer, err := s.up.call(ctx, http.MethodPost, "/v1/audit/batches", "application/vnd.caracal.audit-batch", data, 1<<20)
	var r *refusal
	switch errors.As(err, &r); {
	case r != nil && r.status == http.StatusConflict:
		return 0, 0, fmt.Errorf("%w: %w", audit.ErrChain, err)
	case r != nil && r.status == http.StatusForbidden && r.Code != codeTaken:
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
