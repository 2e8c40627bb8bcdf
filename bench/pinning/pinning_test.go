package pinning

import (
	"reflect"
	"testing"
)

func TestSplit(t *testing.T) {
	alone := func(n int) [][]int {
		var cores [][]int
		for i := range n {
			cores = append(cores, []int{i})
		}
		return cores
	}
	for name, c := range map[string]struct {
		cores [][]int
		want  Split
		says  string
	}{
		"two":            {alone(2), Split{}, "not pinned, which takes Linux and 4 processors"},
		"three":          {alone(3), Split{}, "not pinned, which takes Linux and 4 processors"},
		"four":           {alone(4), Split{[]int{0, 1}, []int{2, 3}}, "pinned: servers to processors 0-1, loader and control planes to 2-3"},
		"five":           {alone(5), Split{[]int{0, 1, 2}, []int{3, 4}}, "pinned: servers to processors 0-2, loader and control planes to 3-4"},
		"some of many":   {[][]int{{1}, {2}, {3}, {7}, {8}, {12}}, Split{[]int{1, 2, 3}, []int{7, 8, 12}}, "pinned: servers to processors 1-3, loader and control planes to 7-8,12"},
		"siblings apart": {[][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}}, Split{[]int{0, 4, 1, 5}, []int{2, 6, 3, 7}}, "pinned: servers to processors 0,4,1,5, loader and control planes to 2,6,3,7"},
		"one core":       {[][]int{{0, 1, 2, 3}}, Split{}, "not pinned, which takes Linux and 4 processors"},
	} {
		got := split(c.cores)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got.String() != c.says {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}
