package sqlite_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// TestQueriesUseIndexes asks SQLite how it would run the queries that must stay
// quick at ten million events: none walks the table or sorts a zone.
func TestQueriesUseIndexes(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	db := raw(t, dir, "events.db")
	after := store.Cursor{At: start, ID: "x"}
	for name, c := range map[string]struct {
		q     store.EventQuery
		index string
	}{
		"newest":        {store.EventQuery{}, "events_newest (zone_id=?)"},
		"next page":     {store.EventQuery{After: after}, "events_newest (zone_id=? AND (occurred_at,id)<(?,?))"},
		"between":       {store.EventQuery{Since: start, Until: start.Add(time.Hour), After: after}, "events_newest (zone_id=? AND occurred_at>? AND (occurred_at,id)<(?,?))"},
		"between ended": {store.EventQuery{Since: start, Until: start, After: after}, "events_newest (zone_id=? AND occurred_at>? AND occurred_at<?)"},
		"denied":        {store.EventQuery{Decision: "deny", After: after}, "events_refused (zone_id=? AND (occurred_at,id)<(?,?))"},
		"allowed":       {store.EventQuery{Decision: "allow"}, "events_newest (zone_id=?)"},
		"gaps":          {store.EventQuery{EventType: "audit_gap"}, "events_special (zone_id=?)"},
		"of a request":  {store.EventQuery{RequestID: "r", Decision: "deny"}, "events_request (zone_id=? AND request_id=?)"},
		"decisions":     {store.EventQuery{EventType: "decision"}, "events_newest (zone_id=?)"},
		"denied gaps":   {store.EventQuery{EventType: "audit_gap", Decision: "deny"}, "events_special (zone_id=?)"},
		"denied before": {store.EventQuery{Decision: "deny", Until: start}, "events_refused (zone_id=? AND occurred_at<?)"},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.ZoneID, c.q.Limit = "z", 10
			query, args := sqlite.EventQuery(c.q)
			sorted := c.q.RequestID != "" // a request has few events
			checkPlan(t, db, query, args, c.index, sorted)
		})
	}
	for _, c := range []struct {
		name, query string
		args        []any
		index       string
	}{
		{"by request", sqlite.ByRequestQuery, []any{"z", "r"}, "events_request (zone_id=? AND request_id=?)"},
		{"since", sqlite.SinceQuery, []any{"z", 1, 10}, "events_tail (zone_id=? AND rowid>?)"},
		{"newest seq", sqlite.LastSeqQuery, []any{"z"}, "events_tail (zone_id=?)"},
	} {
		t.Run(c.name, func(t *testing.T) { checkPlan(t, db, c.query, c.args, c.index, c.name == "by request") })
	}
}

func checkPlan(t *testing.T, db *sql.DB, query string, args []any, index string, sorted bool) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(plan, "; ")
	if !strings.Contains(text, index) || strings.Contains(text, "SCAN") || strings.Contains(text, "B-TREE") != sorted {
		t.Errorf("%s\n\tis run as %s\n\twant %s", query, text, index)
	}
}
