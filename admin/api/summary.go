package api

import "time"

// AuditSummary answers GET .../audit/summary: a zone's decisions, counted.
type AuditSummary struct {
	ZoneID string `json:"zone_id"`
	// Since is rounded down to a step; Until is not included.
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	StepSeconds int       `json:"step_seconds"`
	DecisionCount
	// Points are the steps in which there were decisions, oldest first.
	Points []SummaryPoint `json:"points"`
	// Daemons are those that made them, the busiest first, at most 200.
	Daemons []SummaryDaemon `json:"daemons"`
}

// DecisionCount counts decisions. Failed ones, of status error, are among the denied.
type DecisionCount struct {
	Allowed int64 `json:"allowed"`
	Denied  int64 `json:"denied"`
	Failed  int64 `json:"failed"`
}

// SummaryPoint counts the decisions of one step, which begins At.
type SummaryPoint struct {
	At time.Time `json:"at"`
	DecisionCount
}

// SummaryDaemon counts the decisions of one daemon.
type SummaryDaemon struct {
	DaemonID string `json:"daemon_id"`
	DecisionCount
	// LastAt is when the newest of them was made.
	LastAt time.Time `json:"last_at"`
	// ShippedAfterMS is how long it took, on average, until one was in the audit.
	ShippedAfterMS float64 `json:"shipped_after_ms"`
}
