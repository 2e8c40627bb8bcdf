package report

import (
	"math"

	"golang.org/x/perf/benchmath"
)

// confidence is that of Interval, at least, as benchstat has it.
const confidence = 0.95

// Interval is the confidence interval of the median, at 95%, that benchstat
// gives. It assumes no distribution; ok is false where the samples are too few,
// fewer than six, for it to have ends.
func (r *Row) Interval() (low, high float64, ok bool) {
	if len(r.Samples) == 0 {
		return 0, 0, false
	}
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(r.Samples, &benchmath.DefaultThresholds), confidence)
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		return 0, 0, false
	}
	return s.Lo, s.Hi, true
}

// interval shows the interval for people, "–" where there is none.
func (r *Row) interval() string {
	low, high, ok := r.Interval()
	if !ok {
		return "–"
	}
	return Show(low, r.Unit) + " to " + Show(high, r.Unit)
}
