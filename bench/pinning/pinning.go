// Package pinning keeps those that are measured and those that measure them on
// processors of their own, where there are enough.
package pinning

import (
	"fmt"
	"strconv"
	"strings"
)

// Enough is how many processors are split. Fewer are shared by all, as a half
// would be less than what either needs.
const Enough = 4

// Split are the processors, by their numbers, of the servers under test and of all
// others: the loader, control planes and what else helps. Without any, nothing is pinned.
type Split struct{ Servers, Others []int }

// String says it for people.
func (s Split) String() string {
	if len(s.Servers) == 0 {
		return fmt.Sprintf("not pinned, which takes Linux and %d processors", Enough)
	}
	return fmt.Sprintf("pinned: servers to processors %s, loader and control planes to %s", ranges(s.Servers), ranges(s.Others))
}

// split gives whole cores, each of which has one processor or more, to the
// servers until they have half of the processors, and the rest to the others.
func split(cores [][]int) Split {
	all := 0
	for _, core := range cores {
		all += len(core)
	}
	var s Split
	for _, core := range cores {
		if 2*len(s.Servers) < all {
			s.Servers = append(s.Servers, core...)
		} else {
			s.Others = append(s.Others, core...)
		}
	}
	if all < Enough || len(s.Others) == 0 {
		return Split{}
	}
	return s
}

// ranges writes numbers as the kernel does: 0-3,8.
func ranges(numbers []int) string {
	var b strings.Builder
	for i := 0; i < len(numbers); i++ {
		first := i
		for i+1 < len(numbers) && numbers[i+1] == numbers[i]+1 {
			i++
		}
		if first > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(numbers[first]))
		if i > first {
			fmt.Fprintf(&b, "-%d", numbers[i])
		}
	}
	return b.String()
}
