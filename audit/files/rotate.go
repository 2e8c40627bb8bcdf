package files

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caracalai/caracald/internal/durable"
)

const (
	// stamp is the time of a rotation in a file's name; names sort by it.
	stamp = "20060102T150405.000000000Z"
	// packed ends the name of a compressed file.
	packed = ".gz"
	// unfinished ends the name of one that is being written.
	unfinished = ".tmp"
	// tidyEvery is how often old files are looked for though nothing was rotated.
	tidyEvery = 10 * time.Minute
)

// due tells whether the file is to be rotated before so many bytes more.
func (s *Sink) due(more int64) bool {
	if s.size == 0 {
		return false
	}
	old := s.o.RotateAfter > 0 && !s.first.IsZero() && s.o.Now().Sub(s.first) >= s.o.RotateAfter
	return old || s.size+more > s.o.MaxBytes
}

// rotate gives the file another name and begins a new one. Whatever fails, the
// next attempt looks at what is there.
func (s *Sink) rotate() (err error) {
	f := s.file
	s.file = nil
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	all, err := s.list()
	if err != nil {
		return err
	}
	at := s.o.Now().UTC()
	if n := len(all); n > 0 && !at.After(all[n-1].at) {
		at = all[n-1].at.Add(time.Nanosecond) // the clock went back
	}
	stem, extension := s.stem()
	name := stem + at.Format(stamp) + extension
	dir := filepath.Dir(s.o.Path)
	if err := s.o.fault("rename", name); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(s.o.Path, name), durable.SyncDirectory(dir)); err != nil {
		return err
	}
	if err := s.o.fault("create", s.o.Path); err != nil {
		return err
	}
	f, err = os.OpenFile(s.o.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	if err := durable.SyncDirectory(dir); err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.size, s.first = f, 0, time.Time{}
	s.o.Logger.Info("the audit file was rotated", "to", name)
	s.tidySoon()
	return nil
}

// rotatedFile is one that was rotated at a time.
type rotatedFile struct {
	path string
	at   time.Time
}

// list gives the rotated files, oldest first; of one that is there compressed and
// not, both.
func (s *Sink) list() ([]rotatedFile, error) {
	entries, err := os.ReadDir(filepath.Dir(s.o.Path))
	if err != nil {
		return nil, err
	}
	stem, extension := s.stem()
	var all []rotatedFile
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(s.o.Path), e.Name())
		middle, ok := strings.CutPrefix(path, filepath.Clean(stem))
		if !ok {
			continue
		}
		middle, ok = strings.CutSuffix(strings.TrimSuffix(middle, packed), extension)
		if !ok {
			continue
		}
		if at, err := time.Parse(stamp, middle); err == nil {
			all = append(all, rotatedFile{path, at})
		}
	}
	slices.SortFunc(all, func(a, b rotatedFile) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.path, b.path)) })
	return all, nil
}

func (s *Sink) tidySoon() {
	select {
	case s.rotated <- struct{}{}:
	default:
	}
}

// keepTidy compresses rotated files and removes old ones until the sink is closed.
func (s *Sink) keepTidy() {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-s.rotated:
		case <-tick.C:
		}
		if err := s.tidy(); err != nil {
			s.o.Logger.Warn("rotated audit files could not be tidied up; it is tried again", "error", err)
		}
	}
}

func (s *Sink) tidy() error {
	// The newest may be being read for its last record, which is no harm: a file
	// that is open stays readable.
	all, err := s.list()
	if err != nil {
		return err
	}
	var failed []error
	for _, r := range all {
		select {
		case <-s.done:
			return errors.Join(failed...)
		default:
		}
		if !strings.HasSuffix(r.path, packed) {
			failed = append(failed, s.pack(r.path))
		}
	}
	if all, err = s.list(); err != nil {
		return errors.Join(append(failed, err)...)
	}
	for i, r := range all {
		old := s.o.MaxAge > 0 && s.o.Now().Sub(r.at) > s.o.MaxAge
		many := s.o.MaxFiles > 0 && i < len(all)-s.o.MaxFiles
		if old || many {
			failed = append(failed, os.Remove(r.path))
			s.o.Logger.Info("an old audit file was removed", "file", r.path)
		}
	}
	return errors.Join(failed...)
}

// pack compresses a file: the original goes once the compressed one is durable.
func (s *Sink) pack(path string) (err error) {
	temp := path + packed + unfinished
	defer func() {
		if err != nil {
			if gone := os.Remove(temp); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
			err = fmt.Errorf("compressing %s: %w", path, err)
		}
	}()
	if err := s.o.fault("pack", path); err != nil {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(to)
	_, err = io.Copy(z, from)
	if err = errors.Join(err, z.Close(), to.Sync(), to.Close()); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := errors.Join(os.Rename(temp, path+packed), durable.SyncDirectory(dir)); err != nil {
		return err
	}
	return os.Remove(path)
}
