package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/policy"
)

// Bounds of a summary.
const (
	defaultStep = 60 // seconds
	// maxSteps is the most steps of one summary: a day of minutes.
	maxSteps = 1440
	// maxSummaryDaemons is the most daemons that one lists.
	maxSummaryDaemons = 200
)

func auditSummaryRoutes() []route {
	rt := reads("/v1/zones/{zone}/audit/summary", "audit.summary", "Count a zone's decisions by step of time and by daemon", auditors, []parameter{
		{name: "since", description: "the RFC 3339 time to begin at; an hour before until by default"},
		{name: "until", description: "the RFC 3339 time to end before; now by default"},
		{name: "step_seconds", description: "how long a step is; 60 by default. At most 1440 steps are counted", integer: true},
	}, (*Server).auditSummary)
	rt.archived = true
	return []route{rt}
}

func (s *Server) auditSummary(ctx context.Context, c *call) (api.AuditSummary, error) {
	q, seconds, err := summaryQuery(c)
	if err != nil {
		return api.AuditSummary{}, err
	}
	counts, err := s.store.Events().Count(ctx, q)
	if err != nil {
		return api.AuditSummary{}, fmt.Errorf("counting the audit: %w", err)
	}
	return summaryOf(q, seconds, counts), nil
}

// summaryQuery reads what is to be counted; it begins at a multiple of the step,
// so that the same minutes are counted alike whenever they are asked for.
func summaryQuery(c *call) (store.EventCountQuery, int, error) {
	values := c.r.URL.Query()
	seconds := defaultStep
	if text := values.Get("step_seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 86_400 {
			return store.EventCountQuery{}, 0, invalidQuery("step_seconds", "must be a number from 1 to 86400")
		}
		seconds = n
	}
	bounds, err := eventQuery(c.zone(), values)
	if err != nil {
		return store.EventCountQuery{}, 0, err
	}
	q := store.EventCountQuery{ZoneID: c.zone(), Since: bounds.Since, Until: bounds.Until, Step: time.Duration(seconds) * time.Second}
	if q.Until.IsZero() {
		q.Until = c.now.UTC()
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-time.Hour)
	}
	q.Since = q.Since.Truncate(q.Step)
	switch span := q.Until.Sub(q.Since); {
	case span < 0:
		return q, 0, invalidQuery("until", "is before since")
	case span > maxSteps*q.Step:
		return q, 0, invalidQuery("step_seconds", "makes more than %d steps from since to until", maxSteps)
	}
	return q, seconds, nil
}

func summaryOf(q store.EventCountQuery, seconds int, counts []store.EventCount) api.AuditSummary {
	sum := api.AuditSummary{ZoneID: q.ZoneID, Since: q.Since, Until: q.Until, StepSeconds: seconds, Points: []api.SummaryPoint{}, Daemons: []api.SummaryDaemon{}}
	daemons := map[string]*api.SummaryDaemon{}
	delays := map[string]time.Duration{}
	for _, n := range counts {
		if last := len(sum.Points) - 1; last < 0 || !sum.Points[last].At.Equal(n.At) {
			sum.Points = append(sum.Points, api.SummaryPoint{At: n.At})
		}
		d := daemons[n.DaemonID]
		if d == nil {
			d = &api.SummaryDaemon{DaemonID: n.DaemonID}
			daemons[n.DaemonID] = d
		}
		if n.LastAt.After(d.LastAt) {
			d.LastAt = n.LastAt
		}
		delays[n.DaemonID] += n.ShippedAfter
		for _, into := range []*api.DecisionCount{&sum.DecisionCount, &sum.Points[len(sum.Points)-1].DecisionCount, &d.DecisionCount} {
			if n.Decision == policy.Allow {
				into.Allowed += n.Count
			} else {
				into.Denied += n.Count
			}
			if n.EvaluationStatus == policy.StatusError {
				into.Failed += n.Count
			}
		}
	}
	for id, d := range daemons {
		d.ShippedAfterMS = float64(delays[id].Microseconds()/(d.Allowed+d.Denied)) / 1000
		sum.Daemons = append(sum.Daemons, *d)
	}
	slices.SortFunc(sum.Daemons, func(a, b api.SummaryDaemon) int {
		return cmp.Or(cmp.Compare(b.Allowed+b.Denied, a.Allowed+a.Denied), cmp.Compare(a.DaemonID, b.DaemonID))
	})
	sum.Daemons = sum.Daemons[:min(len(sum.Daemons), maxSummaryDaemons)]
	return sum
}
