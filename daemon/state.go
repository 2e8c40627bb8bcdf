package daemon

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/internal/durable"
)

// state is the directory in which a daemon keeps what it needs to start without
// the admin side. Nothing in it is trusted: it is verified again when it is read.
// The audit spool in it holds the lock that keeps a second daemon out.
type state struct {
	dir string
	log *slog.Logger
}

func openState(dir string, log *slog.Logger) (state, error) {
	s := state{dir, log}
	for _, sub := range []string{"", "zones", "bundles", "trust"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return s, fmt.Errorf("preparing the state directory: %w", err)
		}
	}
	return s, nil
}

// write replaces a file whole or not at all, and returns when that is durable.
func (s state) write(name string, data []byte) error {
	path := filepath.Join(s.dir, name)
	if err := durable.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func (s state) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	return data, nil
}

// setAside renames what cannot be used, so that a person can look at it and
// nothing reads it again.
func (s state) setAside(name string) error {
	path := filepath.Join(s.dir, name)
	if err := os.Rename(path, path+".corrupt"); err != nil {
		return fmt.Errorf("setting %s aside: %w", path, err)
	}
	return nil
}

// sweep removes what writing left behind when the process was killed.
func (s state) sweep() error {
	for _, sub := range []string{"", "zones", "bundles", "trust"} {
		if err := durable.Sweep(filepath.Join(s.dir, sub)); err != nil {
			return fmt.Errorf("sweeping the state directory: %w", err)
		}
	}
	return nil
}

// kept reads a small file, and makes it when there is none or it is damaged.
func (s state) kept(name string, good func([]byte) bool, create func() ([]byte, error)) ([]byte, error) {
	data, err := s.read(name)
	switch {
	case err == nil && good(data):
		return data, nil
	case err == nil:
		s.log.Error("a file of the state directory is damaged; it is set aside and made anew", "file", filepath.Join(s.dir, name))
		if err := s.setAside(name); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if data, err = create(); err != nil {
		return nil, err
	}
	return data, s.write(name, data)
}

// daemonID is the UUIDv7 under which the admin side knows the daemon.
func (s state) daemonID() (string, error) {
	data, err := s.kept("daemon-id", func(data []byte) bool {
		_, err := uuid.ParseBytes(bytes.TrimSpace(data))
		return err == nil
	}, func() ([]byte, error) {
		id, err := uuid.NewV7()
		return []byte(id.String() + "\n"), err
	})
	return string(bytes.TrimSpace(data)), err
}

// maskKey is the key of the digests that stand for masked values.
func (s state) maskKey() ([]byte, error) {
	return s.kept("mask-key", func(data []byte) bool { return len(data) == maskKeyBytes }, func() ([]byte, error) {
		key := make([]byte, maskKeyBytes)
		_, err := rand.Read(key)
		return key, err
	})
}

const maskKeyBytes = 32

func zoneName(id string) string     { return filepath.Join("zones", id+".json") }
func bundleName(hash string) string { return filepath.Join("bundles", hash) }
func rootName(version int64) string {
	return filepath.Join("trust", fmt.Sprintf("%010d.json", version))
}

// zones lists the ids of the zones that are kept.
func (s state) zones() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "zones"))
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && bundle.ValidID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// sealed is a zone's file: the checksum tells damage from a pointer that is not
// trusted any more, of which the sequence still counts.
type sealed struct {
	SHA256 string          `json:"sha256"`
	Zone   json.RawMessage `json:"zone"`
}

func (s state) readZone(id string) (zoneFile, error) {
	data, err := s.read(zoneName(id))
	if err != nil {
		return zoneFile{}, err
	}
	var f sealed
	var z zoneFile
	if err := json.Unmarshal(data, &f); err != nil {
		return z, fmt.Errorf("reading the state of zone %s: %w: %w", id, bundle.ErrFormat, err)
	}
	if bundle.SHA256Hex(f.Zone) != f.SHA256 {
		return z, fmt.Errorf("reading the state of zone %s: %w", id, bundle.ErrHash)
	}
	if err := json.Unmarshal(f.Zone, &z); err != nil {
		return z, fmt.Errorf("reading the state of zone %s: %w: %w", id, bundle.ErrFormat, err)
	}
	return z, nil
}

func (s state) writeZone(id string, z zoneFile) error {
	body, err := json.Marshal(z)
	if err != nil {
		return fmt.Errorf("keeping zone %s: %w", id, err)
	}
	data, err := json.Marshal(sealed{SHA256: bundle.SHA256Hex(body), Zone: body})
	if err != nil {
		return fmt.Errorf("keeping zone %s: %w", id, err)
	}
	return s.write(zoneName(id), data)
}

// keptRoot is a trust root and the file that it is in.
type keptRoot struct {
	name string
	root json.RawMessage
}

// roots are the kept trust roots, oldest first.
func (s state) roots() ([]keptRoot, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "trust"))
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	var roots []keptRoot
	for _, e := range entries { // in the order of their names
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		name := filepath.Join("trust", e.Name())
		data, err := s.read(name)
		if err != nil {
			return nil, err
		}
		roots = append(roots, keptRoot{name, data})
	}
	return roots, nil
}

// forgetBundles removes the bundles that needed does not name. needed is asked
// after the bundles that are there were listed.
func (s state) forgetBundles(needed func() map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "bundles"))
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	keep := needed()
	for _, e := range entries {
		if hashPattern.MatchString(e.Name()) && !keep[e.Name()] {
			if err := os.Remove(filepath.Join(s.dir, "bundles", e.Name())); err != nil {
				return fmt.Errorf("removing an old bundle: %w", err)
			}
		}
	}
	return nil
}
