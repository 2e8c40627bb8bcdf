package sqlite_test

import (
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/admin/store/storetest"
)

// options never poll: what a store does itself it tells at once.
var options = sqlite.Options{PollInterval: time.Hour}

func open(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) func() (store.Store, error) {
		dir := t.TempDir()
		return func() (store.Store, error) {
			return sqlite.Open(t.Context(), dir, sqlite.Options{PollInterval: 5 * time.Millisecond})
		}
	})
}
