package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// commit is the part of a write that runs in the store's transaction.
type commit[Resp any] func(tx store.Tx) (effect[Resp], error)

// effect is what a write came to.
type effect[Resp any] struct {
	body    Resp
	subject subject
}

// subject is what a write was about, as the admin audit keeps it.
type subject struct {
	entityType, entityID string
	// zone is the zone the entity belongs to; "" is the one in the path.
	zone string
	// payload is audited as JSON: what was asked, without secrets.
	payload any
	// secret says that the answer must not be kept for a repeated call.
	secret bool
}

// outcome is an effect without its type.
type outcome struct {
	body    any
	subject subject
}

// write is a mutation on its way: prepare does what needs no transaction.
type write struct {
	id      string
	status  int
	empty   bool
	prepare func(ctx context.Context, body []byte) (func(store.Tx) (outcome, error), error)
}

// write runs a mutation: once for each Idempotency-Key, audited whether it
// succeeds or not, answered when it is durable.
func (s *Server) write(w http.ResponseWriter, c *call, m write) error {
	if err := s.perform(w, c, m); err != nil {
		return s.auditRefusal(c.r.Context(), c, m.id, err)
	}
	return nil
}

// perform runs a mutation and audits it where it succeeds.
func (s *Server) perform(w http.ResponseWriter, c *call, m write) error {
	ctx := c.r.Context()
	key, err := idempotencyKey(c.r)
	if err != nil {
		return err
	}
	body, err := readBody(c.r, maxBody)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", c.r.Method, c.r.URL.RequestURI(), body))
	if key != "" {
		var kept *store.IdempotentAnswer
		err := s.store.View(ctx, func(tx store.Reader) (err error) {
			kept, err = keptAnswer(ctx, tx, c, key, hash[:])
			return err
		})
		if err != nil {
			return err
		}
		if kept != nil {
			return repeat(w, *kept)
		}
	}
	run, err := m.prepare(ctx, body)
	if err != nil {
		return err
	}
	var answer []byte
	var kept *store.IdempotentAnswer
	err = s.store.Update(ctx, func(tx store.Tx) error {
		if key != "" { // the same call may have come in twice at once
			if kept, err = keptAnswer(ctx, tx, c, key, hash[:]); err != nil || kept != nil {
				return err
			}
		}
		c.now = s.now() // writes wait for each other here, so that times follow the order of commits
		out, err := run(tx)
		if err != nil {
			return err
		}
		answer = nil
		if !m.empty {
			if answer, err = encode(out.body); err != nil {
				return fmt.Errorf("encoding the answer: %w", err)
			}
		}
		payload, err := json.Marshal(out.subject.payload)
		if err != nil {
			return fmt.Errorf("encoding the audited payload: %w", err)
		}
		zone := out.subject.zone
		if zone == "" {
			zone = c.zone()
		}
		_, err = tx.AppendAdminEvent(ctx, store.AdminEvent{
			ID: newID(), RequestID: c.requestID, ZoneID: zone, ActorID: c.actor.id, ActorName: c.actor.name,
			Action: m.id, EntityType: out.subject.entityType, EntityID: out.subject.entityID,
			StatusCode: m.status, Payload: payload, OccurredAt: c.now,
		})
		if err != nil {
			return fmt.Errorf("auditing: %w", err)
		}
		if key == "" {
			return nil
		}
		stored := answer
		if out.subject.secret {
			stored = nil
		}
		return tx.PutIdempotent(ctx, store.IdempotentAnswer{
			ActorID: c.actor.id, Key: key, RequestHash: hash[:], StatusCode: m.status, Body: stored, CreatedAt: c.now,
		})
	})
	if err != nil {
		return err
	}
	if kept != nil {
		return repeat(w, *kept)
	}
	s.metrics.wrote(ctx, m.id)
	if m.id == createSetVersion {
		s.publisher.wake()
	}
	if m.empty {
		w.WriteHeader(m.status)
		return nil
	}
	writeJSON(w, m.status, answer)
	return nil
}

// auditPatience bounds how long the entry of a refused write may take.
const auditPatience = 30 * time.Second

// auditRefusal keeps a refused write in the admin audit and gives the error
// back. What failed for no fault of the caller's is logged instead: the store
// is then likely the cause.
func (s *Server) auditRefusal(ctx context.Context, c *call, id string, err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	payload, jerr := json.Marshal(p.body())
	if jerr != nil {
		return errors.Join(err, jerr)
	}
	zone := c.zone()
	if !bundle.ValidID(zone) { // whatever stood in the path
		zone = ""
	}
	// It is kept also where the caller did not wait for the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	aerr := s.store.Update(ctx, func(tx store.Tx) error {
		c.now = s.now()
		_, err := tx.AppendAdminEvent(ctx, store.AdminEvent{
			ID: newID(), RequestID: c.requestID, ZoneID: zone, ActorID: c.actor.id, ActorName: c.actor.name,
			Action: id, StatusCode: p.status, Payload: payload, OccurredAt: c.now,
		})
		return err
	})
	if aerr != nil {
		s.log.Error("a refused write could not be audited", "operation", id, "actor", c.actor.id, "error", aerr)
	}
	return err
}

func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 || r.Method != http.MethodPost {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || len(key) == 0 || len(key) > 255 {
		return "", refuse(http.StatusBadRequest, "invalid_idempotency_key", "Idempotency-Key must be one value of 1 to 255 characters")
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return "", refuse(http.StatusBadRequest, "invalid_idempotency_key", "Idempotency-Key must be printable ASCII without spaces")
		}
	}
	return key, nil
}

// keptAnswer finds what the same call was answered before, nil where it is new.
func keptAnswer(ctx context.Context, tx store.Reader, c *call, key string, hash []byte) (*store.IdempotentAnswer, error) {
	kept, err := tx.Idempotent(ctx, c.actor.id, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("looking an idempotency key up: %w", err)
	case string(kept.RequestHash) != string(hash):
		return nil, refuse(http.StatusUnprocessableEntity, "idempotency_key_reused", "this Idempotency-Key was used for another call")
	case kept.StatusCode != http.StatusNoContent && len(kept.Body) == 0:
		return nil, refuse(http.StatusConflict, "idempotency_key_used", "this call was done before; its answer held a secret that is shown only once")
	}
	return &kept, nil
}

// repeat gives the answer that was kept.
func repeat(w http.ResponseWriter, kept store.IdempotentAnswer) error {
	w.Header().Set("Idempotency-Replayed", "true")
	writeJSON(w, kept.StatusCode, kept.Body)
	return nil
}
