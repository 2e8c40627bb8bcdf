package daemon_test

import (
	"slices"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
)

// Policies do without the cache once many evaluations took next to nothing, and come
// back to it where that changes; a pause of the machine now and then changes nothing.
func TestCheapPoliciesDoWithoutTheCache(t *testing.T) {
	const quick, long = time.Microsecond, 50 * time.Microsecond
	times := func(n int, of ...time.Duration) []time.Duration { return slices.Repeat(of, n) }
	now := slices.Concat(times(15, quick), times(1, long))
	for name, of := range map[string]struct {
		took []time.Duration
		want bool
	}{
		"none yet":                  {nil, false},
		"a few":                     {times(20, quick), false},
		"many":                      {times(500, quick), true},
		"long ones":                 {times(500, long), false},
		"one in two is long":        {times(500, quick, long), false},
		"one in sixteen is long":    {times(100, now...), true},
		"became long":               {slices.Concat(times(1000, quick), times(20, long)), false},
		"were long, became quick":   {slices.Concat(times(1000, long), times(500, quick)), true},
		"quick but for one at last": {slices.Concat(times(1000, quick), times(1, time.Second)), true},
	} {
		if got := daemon.Cheap(of.took...); got != of.want {
			t.Errorf("%s: cheap is %t", name, got)
		}
	}
}
