package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caracalai/caracald/internal/durable"
)

// names lists a directory.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// holds fails the test where the directory has anything but one file of that content.
func holds(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	if got := names(t, filepath.Dir(path)); len(got) != 1 || got[0] != filepath.Base(path) {
		t.Errorf("the directory has %q", got)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file has %q, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("the file's mode: %v, %v", info, err)
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, data := range []string{"first", "", "the third"} {
		if err := durable.Replace(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		holds(t, path, data, 0o600)
	}
}

// TestReplaceFails: what was there stays, and nothing is left beside it.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(inTheWay, "not empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(inTheWay, []byte("data"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
	if err := durable.Replace(filepath.Join(dir, "missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
}

// eachWay runs a test in each of the ways in which Create names a file.
func eachWay(t *testing.T, test func(t *testing.T, last bool)) {
	for n := range durable.Ways {
		t.Run(fmt.Sprintf("way %d", n), func(t *testing.T) {
			durable.OneWay(t, n)
			test(t, n == durable.Ways-1)
		})
	}
}

// TestCreate: a file is created where there is none, and one that is there stays,
// even an empty one, whose maker may be about to replace it.
func TestCreate(t *testing.T) {
	eachWay(t, func(t *testing.T, _ bool) {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		for _, there := range []string{"there", ""} {
			if err := os.WriteFile(path, []byte(there), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := durable.Create(path, []byte("data"), 0o640); !errors.Is(err, fs.ErrExist) {
				t.Errorf("creating what is there: %v", err)
			}
			holds(t, path, there, 0o600)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := durable.Create(path, []byte("data"), 0o640); err != nil {
			t.Fatal(err)
		}
		holds(t, path, "data", 0o640)
		if err := durable.Create(filepath.Join(dir, "missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("in a directory that is not there: %v", err)
		}
	})
}

// TestCreateAtOnce: of many that create a file one does, and whoever reads it
// meanwhile sees all of it or nothing. In the last way a reader may see it empty.
func TestCreateAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, last bool) {
		path := filepath.Join(t.TempDir(), "file")
		var made atomic.Int32
		var winner atomic.Pointer[[]byte]
		var work sync.WaitGroup
		for i := range 16 {
			work.Go(func() {
				data := bytes.Repeat([]byte{byte('a' + i)}, 10_000)
				switch err := durable.Create(path, data, 0o600); {
				case err == nil:
					made.Add(1)
					winner.Store(&data)
				case !errors.Is(err, fs.ErrExist):
					t.Error(err)
				}
				if got, err := os.ReadFile(path); err != nil || len(got) != len(data) && !(last && len(got) == 0) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			})
		}
		work.Wait()
		if made.Load() != 1 {
			t.Fatalf("created %d times", made.Load())
		}
		holds(t, path, string(*winner.Load()), 0o600)
	})
}

// TestSweep: what a killed process began is removed, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := durable.Replace(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".tmp-begun"), []byte("ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(dir); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "kept", 0o600)
}
