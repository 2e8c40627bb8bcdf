package durable

import (
	"errors"
	"testing"
)

// Ways is how many ways Create knows.
var Ways = len(ways)

// OneWay leaves Create the n-th way alone until the test ends: the file system can do
// none before it, and what comes after it does not make up for it.
func OneWay(t *testing.T, n int) {
	all := ways
	t.Cleanup(func() { ways = all })
	ways = nil
	for range n {
		ways = append(ways, func(string, string) error { return errors.ErrUnsupported })
	}
	ways = append(ways, all[n])
}
