package daemon

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
)

// inputsHashed is the setting of a zone whose records do not hold inputs.
const inputsHashed = "hashed"

// Reasons of gaps in the audit.
const (
	gapFull     = "spool_full"
	gapFailed   = "spool_failed"
	gapRecord   = "not_encodable"
	gapReach    = "zone_not_reached"
	gapMismatch = "chain_mismatch"
	gapLimit    = "too_large"
	gapRejected = "rejected_by_sink"
)

// startRecord hands the audit record of a decision to the spool. The error is that
// there can be none.
func (d *Daemon) startRecord(rq *request, out *decided, raw []byte, now time.Time) (audit.Appending, error) {
	if d.cfg.Unaudited {
		return audit.Appending{}, nil
	}
	p := out.snap.pointer
	rec := audit.Record{
		ID: out.id.text(), EventType: audit.EventDecision, ZoneID: p.ZoneID, RequestID: rq.id,
		Decision: out.Decision, EvaluationStatus: out.EvaluationStatus,
		ManifestSHA256: p.ManifestSHA256, BundleSHA256: p.BundleSHA256, Sequence: p.Sequence,
		DeterminingPolicies: out.DeterminingPolicies, Diagnostics: out.Diagnostics, OccurredAt: now.UTC(),
	}
	if p.PolicySetVersionID != nil {
		rec.PolicySetID, rec.PolicySetVersionID = *p.PolicySetID, *p.PolicySetVersionID
	}
	if err := d.fillInput(&rec, rq, out.snap, raw); err != nil {
		return audit.Appending{}, err
	}
	return d.spool.Start(&rec), nil
}

// recorded tells what becomes of a decision whose record was kept, or was not.
func (d *Daemon) recorded(out *decided, err error) *problem {
	switch zone := out.snap.pointer.ZoneID; {
	case err == nil:
		if d.unkept.Load() && d.unkept.CompareAndSwap(true, false) {
			d.log.Info("audit records are kept again")
			d.reportSoon()
		}
		return nil
	case errors.Is(err, audit.ErrSpoolFull):
		return d.notRecorded(zone, gapFull, err)
	case errors.Is(err, audit.ErrSpoolFailed), errors.Is(err, audit.ErrClosed):
		return d.notRecorded(zone, gapFailed, err)
	default:
		return d.notRecorded(zone, gapRecord, err)
	}
}

// unkept refuses a decision whose record cannot be kept.
var unkept = refuse(fasthttp.StatusServiceUnavailable, "audit_unavailable", "the audit record cannot be kept, so there is no decision")

// notRecorded counts a record that could not be kept, or refuses the decision.
func (d *Daemon) notRecorded(zone, reason string, err error) *problem {
	if d.unkept.CompareAndSwap(false, true) {
		d.log.Error("audit records cannot be kept", "audit_mode", string(d.cfg.AuditMode), "zone", zone, "error", err)
		d.reportSoon()
	}
	if d.cfg.AuditMode == AuditCount {
		d.spool.NoteGap(zone, 1, reason)
		return nil
	}
	return unkept
}

// metadata is what a record says beside the decision.
type metadata struct {
	// TraceID and SpanID are the caller's, as W3C Trace Context has them.
	TraceID string `json:"trace_id,omitempty"`
	SpanID  string `json:"span_id,omitempty"`
	// Masked lists the JSON pointers of the input whose values were replaced.
	Masked []string `json:"masked,omitempty"`
	// InputSHA256 is that of the exact bytes of an input that is not kept.
	InputSHA256 string `json:"input_sha256,omitempty"`
	// Replayable tells whether the kept input gives the same decision again;
	// absent where it is the very one.
	Replayable *bool `json:"replayable,omitempty"`
}

var noMetadata = json.RawMessage("{}")

// tracedBytes is how long what appendTraced appends is.
const tracedBytes = len(`{"trace_id":"","span_id":""}`) + 2*len(trace.TraceID{}) + 2*len(trace.SpanID{})

// appendTraced appends a metadata that has the caller's trace and nothing else, as it
// would be encoded: most records of callers that trace have one, for each decision.
func appendTraced(b []byte, span trace.SpanContext) []byte {
	t, s := span.TraceID(), span.SpanID()
	b = append(b, `{"trace_id":"`...)
	b = hex.AppendEncode(b, t[:])
	b = append(b, `","span_id":"`...)
	b = hex.AppendEncode(b, s[:])
	return append(b, `"}`...)
}

// fillInput puts the evaluated input into a record the way the zone wants it.
func (d *Daemon) fillInput(rec *audit.Record, rq *request, snap *snapshot, raw []byte) error {
	var m metadata
	switch settings := &snap.pointer.Settings; {
	case settings.AuditInputs == inputsHashed:
		m.InputSHA256, m.Replayable = bundle.SHA256Hex(raw), new(bool)
	case len(settings.AuditMask) > 0:
		masked, found, err := audit.Mask(raw, settings.AuditMask, d.maskKey)
		if err != nil {
			return fmt.Errorf("masking: %w", err)
		}
		rec.Input, m.Masked = masked, found
		if len(found) > 0 {
			replayable := !slices.ContainsFunc(found, func(path string) bool { return snap.read[path] })
			m.Replayable = &replayable
		}
	default:
		rec.Input = raw
		if !rq.span.IsValid() {
			rec.Metadata = noMetadata
			return nil
		}
		rec.Metadata = appendTraced(rq.traced[:0], rq.span)
		return nil
	}
	if rq.span.IsValid() {
		m.TraceID, m.SpanID = rq.span.TraceID().String(), rq.span.SpanID().String()
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding metadata: %w", err)
	}
	rec.Metadata = data
	return nil
}
