package admin

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

func adminAuditRoutes() []route {
	query := []parameter{
		{name: "since", description: "only what occurred at or after this RFC 3339 time"},
		{name: "until", description: "only what occurred before this RFC 3339 time"},
		{name: "actor_id", description: "only what this actor did"},
		{name: "action", description: "only this operation, such as policy_set.activate"},
		{name: "request_id", description: "only this request"},
	}
	query = append(append(query, paging...), parameter{name: "format", enum: []string{formatJSON, formatCSV, formatNDJSON},
		description: "json answers a page; csv and ndjson answer a file of everything that matches, or the newest limit of it"})
	list := func(path, id, summary string) route {
		rt := raw(http.MethodGet, path, id, summary, auditors, query, "application/json", new(api.Page[api.AdminEvent]), (*Server).listAdminAudit)
		rt.others = []otherAnswer{{status: http.StatusOK, contentType: "text/csv"}, {status: http.StatusOK, contentType: "application/x-ndjson"}}
		rt.archived = true // what was done is not forgotten with the zone
		return rt
	}
	return []route{
		list("/v1/zones/{zone}/admin-audit", "admin_audit.list", "List or export who did what in a zone"),
		list("/v1/admin-audit", "admin_audit.list_all", "List or export who did what anywhere"),
	}
}

func (s *Server) listAdminAudit(w http.ResponseWriter, c *call) error {
	if c.zone() == "" {
		if err := everywhere(c); err != nil {
			return err
		}
	}
	ctx := c.r.Context()
	values := c.r.URL.Query()
	limit, err := c.limit()
	if err != nil {
		return err
	}
	q, err := adminEventQuery(c)
	if err != nil {
		return err
	}
	switch format := values.Get("format"); format {
	case "", formatJSON:
	case formatCSV, formatNDJSON:
		file := &export[api.AdminEvent]{name: "admin-audit-" + cmp.Or(c.zone(), "all"), format: format, columns: adminEventColumns, next: func(limit int) ([]api.AdminEvent, error) {
			q.Limit = limit
			list, err := s.adminEvents(ctx, q)
			if len(list) > 0 {
				q.BeforeSeq = list[len(list)-1].ChainSeq
			}
			return list, err
		}}
		if values.Get("limit") != "" {
			file.most = limit
		}
		return file.stream(s, w, c)
	default:
		return invalidQuery("format", "must be json, csv or ndjson")
	}
	q.Limit = limit + 1
	page := api.Page[api.AdminEvent]{}
	if page.Items, err = s.adminEvents(ctx, q); err != nil {
		return err
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		next := base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(page.Items[limit-1].ChainSeq, 36)))
		page.NextCursor = &next
	}
	return respond(w, http.StatusOK, page)
}

// adminEventQuery reads the filters and the cursor, which is a place in the chain.
func adminEventQuery(c *call) (store.AdminEventQuery, error) {
	values := c.r.URL.Query()
	q := store.AdminEventQuery{ZoneID: c.zone(), ActorID: values.Get("actor_id"), Action: values.Get("action"), RequestID: values.Get("request_id")}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := values.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return q, invalidQuery(name, "must be an RFC 3339 time")
			}
			*into = t.UTC()
		}
	}
	if cursor := values.Get("cursor"); cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(cursor)
		if err == nil {
			q.BeforeSeq, err = strconv.ParseInt(string(text), 36, 64)
		}
		if err != nil || q.BeforeSeq < 1 {
			return q, invalidQuery("cursor", "is not one that a list answered")
		}
	}
	return q, nil
}

func (s *Server) adminEvents(ctx context.Context, q store.AdminEventQuery) ([]api.AdminEvent, error) {
	var rows []store.AdminEvent
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		rows, err = tx.AdminEvents(ctx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the admin audit: %w", err)
	}
	list := make([]api.AdminEvent, len(rows))
	for i, e := range rows {
		list[i] = api.AdminEvent{
			ID: e.ID, RequestID: e.RequestID, ZoneID: e.ZoneID, ActorID: e.ActorID, ActorName: e.ActorName, Action: e.Action,
			EntityType: e.EntityType, EntityID: e.EntityID, StatusCode: e.StatusCode, PayloadJSON: e.Payload,
			OccurredAt: e.OccurredAt, ChainSeq: e.ChainSeq, ChainHash: e.ChainHash,
		}
	}
	return list, nil
}
