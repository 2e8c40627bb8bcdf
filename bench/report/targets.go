package report

// Target is what a ratio should be.
type Target struct {
	Key string `json:"-"`
	// What says how the ratio is made and in which direction it is better.
	What string `json:"what"`
	// Better is "higher" or "lower".
	Better string  `json:"better"`
	Goal   float64 `json:"goal"`
	// Met is nil where the ratio was not measured.
	Met *bool `json:"met,omitempty"`
}

// Targets are all that have one, in the order of tables.
var Targets = []Target{
	{Key: "eval_a_vs_opa", Better: "higher", Goal: 20,
		What: "time of OPA's PreparedEvalQuery over ours, workload A, input parsed before, one processor"},
	{Key: "bytes_to_bytes_vs_opa", Better: "higher", Goal: 25,
		What: "time of OPA over ours, workload A, from the input's bytes to the answer's bytes, no cache, one processor"},
	{Key: "rules_10000_vs_10", Better: "lower", Goal: 1.5,
		What: "our time with 10,000 rules over our time with 10, input parsed before"},
	{Key: "http_vs_ceiling", Better: "higher", Goal: 0.75,
		What: "our decisions/s over a bare fasthttp handler's, 16 connections, cache off, each record with the operating system before its decision is answered"},
	{Key: "http_cached_vs_ceiling", Better: "higher", Goal: 0.85,
		What: "the same with the decision cache on; its inputs repeat principals and resources, never trace and request ids"},
	{Key: "http_vs_opa_server", Better: "higher", Goal: 6,
		What: "our decisions/s, as in http_vs_ceiling, over those of opa run --server, which keeps no record"},
	{Key: "http_p99_vs_ceiling", Better: "lower", Goal: 1.3,
		What: "our p99 over the ceiling's in the runs of http_vs_ceiling"},
	{Key: "swap_p99_vs_steady", Better: "lower", Goal: 1.5,
		What: "our p99 while another version is activated every second over our p99 without that, at one fixed rate, counted from when each request was due; a failed request fails the run"},
	{Key: "activation_p99_ms", Better: "lower", Goal: 50,
		What: "p99, in ms, from sending the activation to the first decision of the new version"},
	{Key: "audit_cost", Better: "lower", Goal: 0.1,
		What: "share of decisions/s lost by records, as in http_vs_ceiling, against a daemon whose spool takes none"},
	{Key: "audit_bytes_per_decision", Better: "lower", Goal: 100,
		What: "bytes that one decision of A, its input kept, takes in the daemon's spool on disk"},
	{Key: "allocs_per_decision", Better: "lower", Goal: 0,
		What: "allocations of evaluating A once, input parsed before"},
	{Key: "memory_1000_zones_vs_opa", Better: "lower", Goal: 0.333,
		What: "resident memory of a daemon with 1,000 zones of A over that of one opa run --server with the same policies"},
	{Key: "watchers_last_notified_ms", Better: "lower", Goal: 1000,
		What: "time, in ms, from sending an activation until the last of 2,000 long-polling watchers of one admin process has the new pointer"},
}

// Ratio sets a ratio of the run.
func (r *Report) Ratio(key string, value float64) {
	r.Ratios[key] = value
	for _, t := range Targets {
		if t.Key == key {
			met := value <= t.Goal
			if t.Better == "higher" {
				met = value >= t.Goal
			}
			t.Met = &met
			r.Targets[key] = t
		}
	}
}
