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
	{Key: "allocs_per_decision", Better: "lower", Goal: 0,
		What: "allocations of evaluating A once, input parsed before"},
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
