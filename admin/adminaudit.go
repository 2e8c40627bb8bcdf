package admin

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

func adminAuditRoutes() []route {
	query := append([]parameter{
		{name: "since", description: "only what occurred at or after this RFC 3339 time"},
		{name: "until", description: "only what occurred before this RFC 3339 time"},
		{name: "actor_id", description: "only what this actor did"},
		{name: "action", description: "only this operation, such as policy_set.activate"},
		{name: "request_id", description: "only this request"},
	}, paging...)
	return []route{
		reads("/v1/zones/{zone}/admin-audit", "admin_audit.list", "List who did what in a zone", auditors, query, (*Server).listAdminAudit),
		reads("/v1/admin-audit", "admin_audit.list_all", "List who did what anywhere", auditors, query, (*Server).listAdminAudit),
	}
}

func (s *Server) listAdminAudit(ctx context.Context, c *call) (api.Page[api.AdminEvent], error) {
	page := api.Page[api.AdminEvent]{Items: []api.AdminEvent{}}
	if c.zone() == "" {
		if err := everywhere(c); err != nil {
			return page, err
		}
	}
	values := c.r.URL.Query()
	q := store.AdminEventQuery{ZoneID: c.zone(), ActorID: values.Get("actor_id"), Action: values.Get("action"), RequestID: values.Get("request_id")}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := values.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return page, invalidQuery(name, "must be an RFC 3339 time")
			}
			*into = t
		}
	}
	cursor := values.Get("cursor")
	limit, err := c.limit()
	if err != nil {
		return page, err
	}
	if cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(cursor)
		if err == nil {
			q.BeforeSeq, err = strconv.ParseInt(string(raw), 36, 64)
		}
		if err != nil || q.BeforeSeq < 1 {
			return page, invalidQuery("cursor", "is not one that a list answered")
		}
	}
	q.Limit = limit + 1
	var rows []store.AdminEvent
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		rows, err = tx.AdminEvents(ctx, q)
		return err
	})
	if err != nil {
		return page, err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next := base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(rows[limit-1].ChainSeq, 36)))
		page.NextCursor = &next
	}
	for _, e := range rows {
		page.Items = append(page.Items, api.AdminEvent{
			ID: e.ID, RequestID: e.RequestID, ZoneID: e.ZoneID, ActorID: e.ActorID, ActorName: e.ActorName, Action: e.Action,
			EntityType: e.EntityType, EntityID: e.EntityID, StatusCode: e.StatusCode, PayloadJSON: e.Payload,
			OccurredAt: e.OccurredAt, ChainSeq: e.ChainSeq, ChainHash: e.ChainHash,
		})
	}
	return page, nil
}
