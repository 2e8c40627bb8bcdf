package postgres_test

import (
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/admin/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// never is a poll that notifications must do without.
const never = time.Hour

func open(t testing.TB, d pgtest.Database, poll time.Duration) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL, PollInterval: poll})
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
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, pgtest.Shared(t), never) })
}

// TestShared has two replicas that only notifications wake.
func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) func() (store.Store, error) {
		d := pgtest.Shared(t)
		return func() (store.Store, error) {
			return postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL, PollInterval: never})
		}
	})
}
