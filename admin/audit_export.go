package admin

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// exportPage is how many rows of an export are read at once.
const exportPage = 500

// column is a column of a CSV file, named as the field in JSON.
type column[T any] struct {
	name  string
	value func(T) string
}

// export is a file of rows, newest first.
type export[T any] struct {
	// name begins the file's name.
	name    string
	format  string
	columns []column[T]
	// most is the most rows, 0 for all.
	most int
	// next reads up to limit rows after those it gave before.
	next func(limit int) ([]T, error)
}

// stream writes the file. What fails after the first bytes went out breaks the
// connection, so that nobody takes a part for the whole.
func (e *export[T]) stream(s *Server, w http.ResponseWriter, c *call) error {
	left := e.most
	next := func() ([]T, error) {
		limit := exportPage
		if e.most > 0 {
			limit = min(exportPage, left)
		}
		if limit == 0 {
			return nil, nil
		}
		rows, err := e.next(limit)
		left -= len(rows)
		return rows, err
	}
	rows, err := next()
	if err != nil {
		return err
	}
	var out rowWriter[T]
	h := w.Header()
	switch e.format {
	case formatCSV:
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		out = &csvRows[T]{w: csv.NewWriter(w), columns: e.columns}
	default:
		h.Set("Content-Type", "application/x-ndjson")
		out = jsonLines[T]{w}
	}
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.%s"`, e.name, c.now.Format("20060102T150405Z"), e.format))
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
			if c.r.Context().Err() == nil {
				s.log.Error("an export broke off", "file", e.name, "request_id", c.requestID, "error", err)
			}
			panic(http.ErrAbortHandler)
		}
	}
}

// rowWriter writes rows in a format for files.
type rowWriter[T any] interface {
	write(rows []T) error
}

// jsonLines writes a row a line.
type jsonLines[T any] struct{ w io.Writer }

func (j jsonLines[T]) write(rows []T) error {
	for _, row := range rows {
		line, err := encode(row)
		if err != nil {
			return fmt.Errorf("encoding a row: %w", err)
		}
		if _, err := j.w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// csvRows writes a row a record, after a header.
type csvRows[T any] struct {
	w       *csv.Writer
	columns []column[T]
	record  []string
}

func (c *csvRows[T]) write(rows []T) error {
	if c.record == nil {
		c.record = make([]string, len(c.columns))
		for i, col := range c.columns {
			c.record[i] = col.name
		}
		if err := c.w.Write(c.record); err != nil {
			return err
		}
	}
	for _, row := range rows {
		for i, col := range c.columns {
			c.record[i] = inertCell(col.value(row))
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

// exportAudit streams the events that a query matches.
func (s *Server) exportAudit(w http.ResponseWriter, c *call, q store.EventQuery, format string, most int) error {
	file := &export[api.Event]{name: "audit-" + q.ZoneID, format: format, columns: eventColumns, most: most, next: func(limit int) ([]api.Event, error) {
		q.Limit = limit
		rows, err := s.store.Events().Query(c.r.Context(), q)
		if err != nil {
			return nil, fmt.Errorf("reading the audit: %w", err)
		}
		if len(rows) > 0 {
			q.After = eventCursor(rows[len(rows)-1])
		}
		events := make([]api.Event, len(rows))
		for i, row := range rows {
			events[i] = eventBody(row)
		}
		return events, nil
	}}
	return file.stream(s, w, c)
}

var eventColumns = []column[api.Event]{
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

var adminEventColumns = []column[api.AdminEvent]{
	{"id", func(e api.AdminEvent) string { return e.ID }},
	{"request_id", func(e api.AdminEvent) string { return e.RequestID }},
	{"zone_id", func(e api.AdminEvent) string { return e.ZoneID }},
	{"actor_id", func(e api.AdminEvent) string { return e.ActorID }},
	{"actor_name", func(e api.AdminEvent) string { return e.ActorName }},
	{"action", func(e api.AdminEvent) string { return e.Action }},
	{"entity_type", func(e api.AdminEvent) string { return e.EntityType }},
	{"entity_id", func(e api.AdminEvent) string { return e.EntityID }},
	{"status_code", func(e api.AdminEvent) string { return strconv.Itoa(e.StatusCode) }},
	{"payload_json", func(e api.AdminEvent) string { return string(e.PayloadJSON) }},
	{"occurred_at", func(e api.AdminEvent) string { return e.OccurredAt.Format(time.RFC3339Nano) }},
	{"chain_seq", func(e api.AdminEvent) string { return strconv.FormatInt(e.ChainSeq, 10) }},
	{"chain_hash", func(e api.AdminEvent) string { return e.ChainHash }},
}
