package admin

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// exportPage is how many events of an export are read at once.
const exportPage = 500

// exportAudit streams the events that a query matches as a file, newest first;
// at most so many, or all for 0. What fails after the first bytes went out
// breaks the connection, so that nobody takes a part for the whole.
func (s *Server) exportAudit(w http.ResponseWriter, c *call, q store.EventQuery, format string, most int) error {
	ctx := c.r.Context()
	left := most
	next := func() ([]store.Event, error) {
		q.Limit = exportPage
		if most > 0 {
			q.Limit = min(exportPage, left)
		}
		if q.Limit == 0 {
			return nil, nil
		}
		rows, err := s.store.Events().Query(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("reading the audit: %w", err)
		}
		left -= len(rows)
		if len(rows) > 0 {
			q.After = eventCursor(rows[len(rows)-1])
		}
		return rows, nil
	}
	rows, err := next()
	if err != nil {
		return err
	}
	var out eventWriter
	h := w.Header()
	switch format {
	case formatCSV:
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		out = newCSVEvents(w)
	default:
		h.Set("Content-Type", "application/x-ndjson")
		out = jsonLines{w}
	}
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="audit-%s-%s.%s"`, q.ZoneID, c.now.Format("20060102T150405Z"), format))
	conn := http.NewResponseController(w)
	for {
		extendDeadline(w, writeTimeout)
		err := out.write(rows)
		if err == nil {
			if err = conn.Flush(); errors.Is(err, http.ErrNotSupported) {
				err = nil
			}
		}
		if err == nil && len(rows) < exportPage {
			return nil
		}
		if err == nil {
			rows, err = next()
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("an export of the audit broke off", "zone", q.ZoneID, "request_id", c.requestID, "error", err)
			}
			panic(http.ErrAbortHandler)
		}
	}
}

// eventWriter writes events in a format for files.
type eventWriter interface {
	write(rows []store.Event) error
}

// jsonLines writes an event a line.
type jsonLines struct{ w io.Writer }

func (j jsonLines) write(rows []store.Event) error {
	for _, row := range rows {
		line, err := encode(eventBody(row))
		if err != nil {
			return fmt.Errorf("encoding event %s: %w", row.ID, err)
		}
		if _, err := j.w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// csvFields are the columns, named as in JSON.
var csvFields = []struct {
	name  string
	value func(e api.Event) string
}{
	{"id", func(e api.Event) string { return e.ID }},
	{"zone_id", func(e api.Event) string { return e.ZoneID }},
	{"event_type", func(e api.Event) string { return e.EventType }},
	{"request_id", func(e api.Event) string { return e.RequestID }},
	{"decision", func(e api.Event) string { return e.Decision }},
	{"evaluation_status", func(e api.Event) string { return e.EvaluationStatus }},
	{"policy_set_id", func(e api.Event) string { return e.PolicySetID }},
	{"policy_set_version_id", func(e api.Event) string { return e.PolicySetVersionID }},
	{"manifest_sha", func(e api.Event) string { return e.ManifestSHA }},
	{"bundle_sha256", func(e api.Event) string { return e.BundleSHA256 }},
	{"determining_policies_json", func(e api.Event) string { return string(e.DeterminingPoliciesJSON) }},
	{"diagnostics_json", func(e api.Event) string { return string(e.DiagnosticsJSON) }},
	{"metadata_json", func(e api.Event) string { return string(e.MetadataJSON) }},
	{"occurred_at", func(e api.Event) string { return e.OccurredAt.Format(time.RFC3339Nano) }},
	{"ingested_at", func(e api.Event) string { return e.IngestedAt.Format(time.RFC3339Nano) }},
}

// csvEvents writes an event a record, after a header.
type csvEvents struct {
	w      *csv.Writer
	record []string
	headed bool
}

func newCSVEvents(w io.Writer) *csvEvents {
	return &csvEvents{w: csv.NewWriter(w), record: make([]string, len(csvFields))}
}

func (c *csvEvents) write(rows []store.Event) error {
	if !c.headed {
		c.headed = true
		for i, f := range csvFields {
			c.record[i] = f.name
		}
		if err := c.w.Write(c.record); err != nil {
			return err
		}
	}
	for _, row := range rows {
		e := eventBody(row)
		for i, f := range csvFields {
			c.record[i] = inertCell(f.value(e))
		}
		if err := c.w.Write(c.record); err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}

// inertCell keeps a spreadsheet from taking a cell for a formula: request ids
// and much else in the audit are chosen by callers. A cell that could be one
// begins with an apostrophe.
func inertCell(text string) string {
	if text == "" {
		return text
	}
	if strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(text)[0]) {
		return "'" + text
	}
	return text
}
