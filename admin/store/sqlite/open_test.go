package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	fill(t, s)
	for name, want := range map[string]fs.FileMode{
		"": 0o700, "control.db": 0o600, "events.db": 0o600, "control.db-wal": 0o600, "events.db-wal": 0o600, "control.db-shm": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

// TestSettings reads what the files say of themselves.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	for _, file := range []string{"control.db", "events.db"} {
		db := raw(t, dir, file)
		var mode string
		if err := db.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("%s has journal mode %q, %v", file, mode, err)
		}
		var strict, loose int
		err := db.QueryRowContext(t.Context(), `SELECT sum(strict), sum(NOT strict) FROM pragma_table_list
			WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'goose%'`).Scan(&strict, &loose)
		if err != nil || strict == 0 || loose != 0 {
			t.Errorf("%s has %d strict tables and %d others: %v", file, strict, loose, err)
		}
	}
}

// TestMigratesOnce opens a place again and again: it is as it was.
func TestMigratesOnce(t *testing.T) {
	dir := t.TempDir()
	fill(t, open(t, dir))
	db := raw(t, dir, "control.db")
	before := dump(t, db, "goose_db_version")
	for range 3 {
		s := open(t, dir)
		if wrong, err := s.Check(t.Context()); err != nil || len(wrong) != 0 {
			t.Fatalf("%q is wrong: %v", wrong, err)
		}
		err := s.View(t.Context(), func(r store.Reader) error {
			_, err := r.Zone(t.Context(), "z1")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := dump(t, db, "goose_db_version"); now != before {
		t.Errorf("the versions were\n%s\nand are\n%s", before, now)
	}
}

func TestCannotOpen(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string) error
		want  []string
	}{
		"no database": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "control.db"), bytes.Repeat([]byte("not a database"), 1000), 0o600)
		}, []string{"control.db", "not a database"}},
		"events are no database": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "events.db"), bytes.Repeat([]byte("not a database"), 1000), 0o600)
		}, []string{"events.db", "not a database"}},
		"damaged": {func(t *testing.T, dir string) error {
			s := open(t, dir)
			fill(t, s)
			if err := s.Close(); err != nil {
				return err
			}
			f, err := os.OpenFile(filepath.Join(dir, "control.db"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 3000), 100) // the schema
			return errors.Join(err, f.Close())
		}, []string{"control.db", "malformed"}},
		"a directory is there": {func(_ *testing.T, dir string) error {
			return os.Mkdir(filepath.Join(dir, "control.db"), 0o700)
		}, []string{"control.db", "directory"}},
		"tables of somebody else": {func(t *testing.T, dir string) error {
			db, err := sql.Open("sqlite", filepath.Join(dir, "control.db"))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(t.Context(), "CREATE TABLE zones (x)")
			return errors.Join(err, db.Close())
		}, []string{"control.db", "zones", "exists"}},
		"cannot be written": {func(t *testing.T, dir string) error {
			if os.Geteuid() == 0 {
				t.Skip("nothing is kept from root")
			}
			return os.WriteFile(filepath.Join(dir, "control.db"), nil, 0o400)
		}, []string{"control.db", "permission denied"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.spoil(t, dir); err != nil {
				t.Fatal(err)
			}
			s, err := sqlite.Open(t.Context(), dir, options)
			if err == nil {
				t.Error(s.Close())
				t.Fatal("it opens")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, without %q", err, want)
				}
			}
		})
	}
	t.Run("no directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := sqlite.Open(t.Context(), file, options); err == nil {
			t.Fatal(s.Close())
		}
	})
}

// TestDamagedLater reads a file that goes bad in an open store.
func TestDamagedLater(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "events.db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for at := 3 * page; at+page <= len(data); at += page { // all but the schema
		copy(data[at:], bytes.Repeat([]byte{0xee}, page))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = sqlite.Open(t.Context(), dir, options)
	if err != nil {
		return // seen at once
	}
	t.Cleanup(func() { _ = s.Close() })
	if wrong, err := s.Check(t.Context()); err == nil && len(wrong) == 0 {
		t.Error("nothing is found wrong")
	}
}
