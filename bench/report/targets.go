package report

import "strings"

// Target is what a ratio should be.
type Target struct {
	Key string `json:"-"`
	// What says how the ratio is made and in which direction it is better.
	What string `json:"what"`
	// Better is "higher" or "lower", and "" where there is no goal.
	Better string  `json:"better,omitempty"`
	Goal   float64 `json:"goal"`
	// Met is nil where there is no goal.
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
	{Key: "allocs_per_decision", Better: "lower", Goal: 0,
		What: "allocations of evaluating A once, input parsed before; reading, recording and answering are not among them: for a whole decision over HTTP see the rows of the server's allocations"},
	{Key: "http_vs_ceiling", Better: "higher", Goal: 0.75,
		What: "caracald's decisions a second over the ceiling's requests, at saturation, cache off, audit on with records handed to the operating system"},
	{Key: "http_fsync_vs_ceiling",
		What: "the same with an fsync before each answer, which is the default"},
	{Key: "http_cached_vs_ceiling", Better: "higher", Goal: 0.85,
		What: "the same as http_vs_ceiling with the cache on; trace ids never repeat"},
	{Key: "http_cached_vs_uncached_statements",
		What: "caracald's decisions a second with the cache on over those with it off, at saturation, of a policy that takes longer than the cache: statements as data"},
	{Key: "http_vs_opa_server", Better: "higher", Goal: 6,
		What: "caracald's decisions a second over those of opa run --server, at saturation, cache off, audit on"},
	{Key: "http_vs_cerbos_server",
		What: "the same over those of cerbos server, its audit off"},
	{Key: "http_64_vs_ceiling",
		What: "the same as http_vs_ceiling over 64 connections in the place of 16, with which no processor is left idle"},
	{Key: "http_64_fsync_vs_ceiling",
		What: "the same with an fsync before each answer"},
	{Key: "http_64_cached_vs_ceiling",
		What: "the same with the cache on"},
	{Key: "http_64_vs_opa_server",
		What: "the same as http_vs_opa_server over 64 connections"},
	{Key: "http_p99_vs_ceiling", Better: "lower", Goal: 1.3,
		What: "caracald's p99 over the ceiling's, both at one fixed rate, 30% of the slower one's saturation; latencies from when a request was due"},
	{Key: "swap_p99_vs_steady", Better: "lower", Goal: 1.5,
		What: "p99 at a fixed rate while a new version becomes active each second, over p99 while none does"},
	{Key: "swap_failed_requests", Better: "lower", Goal: 0,
		What: "requests that failed while versions were swapped"},
	{Key: "activation_p99_ms", Better: "lower", Goal: 50,
		What: "p99, in ms, from before the API call that moves the pointer to the first decision of the new bundle"},
	{Key: "watchers_last_notified_ms", Better: "lower", Goal: 1000,
		What: "ms from before the API call that moves the pointer until the last of the long polls on one control plane had it; the worst of the rounds"},
	{Key: "watchers_missed", Better: "lower", Goal: 0,
		What: "long polls that were not told of a change"},
	{Key: "audit_cost", Better: "lower", Goal: 0.1,
		What: "share of throughput that audit takes: a daemon that makes, keeps and ships records, against the same one without any audit"},
	{Key: "audit_cost_64",
		What: "the same over 64 connections"},
	{Key: "audit_bytes_per_decision", Better: "lower", Goal: 100,
		What: "bytes on disk for each decision of A, inputs kept, in spool segments that are full and wait to be shipped; in the one that is being written they may take more, see the rows"},
	{Key: "http_1000_zones_vs_1",
		What: "decisions a second of one daemon whose zones, each with a variant of A of its own, are all asked for, over those of the same daemon where one of them is, at saturation, cache off"},
	{Key: "memory_1000_zones_vs_opa", Better: "lower", Goal: 0.333,
		What: "resident memory of one daemon with many zones, each with a variant of A of its own, over that of one opa run --server with the same policies"},
	{Key: "memory_1000_equal_zones_vs_opa", Better: "lower", Goal: 0.333,
		What: "the same where all zones have an equal policy"},
}

// Ratio sets a ratio of the run. Details are what this run adds to what its
// target says.
func (r *Report) Ratio(key string, value float64, details ...string) {
	r.Ratios[key] = value
	for _, t := range Targets {
		if t.Key == key {
			met := value <= t.Goal
			if t.Better == "higher" {
				met = value >= t.Goal
			}
			if t.Better != "" {
				t.Met = &met
			}
			t.What = strings.Join(append([]string{t.What}, details...), "; ")
			r.Targets[key] = t
		}
	}
}
