package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// TestCopyKilled kills caracal admin copy amid its work, twice: the third run
// ends what they began.
func TestCopyKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	st, err := sqlite.Open(t.Context(), from, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const batches, size = 30, 1000
	for n := range batches {
		b := store.EventBatch{DaemonID: "d", Epoch: fmt.Sprint(n), At: time.Now()}
		for i := range size {
			b.Events = append(b.Events, store.Event{ID: fmt.Sprint(n, "-", i), ZoneID: "z", OccurredAt: b.At})
		}
		if _, err := st.Events().Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(to, "events.db-wal")
	copying := &process{t: t, name: "caracal admin copy", log: &tail{}, make: func() *exec.Cmd {
		cmd := exec.Command(self, "admin", "copy", "--from", from, "--to", to)
		cmd.Env = append(os.Environ(), asCaracal+"=1")
		return cmd
	}}
	t.Cleanup(copying.kill)
	for range 2 {
		var before int64
		if info, err := os.Stat(log); err == nil {
			before = info.Size()
		}
		copying.start()
		late, tick := time.Now().Add(patience), time.NewTicker(time.Millisecond)
		for ; ; <-tick.C { // until events arrive
			if info, err := os.Stat(log); err == nil && info.Size() != before && info.Size() > 512<<10 {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("no events are copied: %s", copying.log.data)
			}
		}
		tick.Stop()
		copying.kill()
	}
	code, said := caracal(t, "admin", "copy", "--from", from, "--to", to)
	if code != exitDone || !strings.Contains(said, "in an earlier run; counts and hashes agree") {
		t.Fatalf("the last run ends with %d: %s", code, said)
	}
	if st, err = sqlite.Open(t.Context(), to, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	list, err := st.Events().Since(t.Context(), "z", 0, 0)
	if err != nil || len(list) != batches*size {
		t.Errorf("%d of %d events are there: %v", len(list), batches*size, err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
