package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/internal/durable"
)

// tailBytes is how much of a file's end is looked at after a crash: more than
// one batch makes, which is all that can be damaged.
const tailBytes = 32 << 20

// known is what the sink reads of its own lines.
type known struct {
	audit.Place
	OccurredAt time.Time `json:"occurred_at"`
}

// recover opens the file and finds out where it ends. A torn last line is cut
// off: its batch was never acknowledged and comes again. A file that has
// anything else in its end than whole lines is rotated as it is.
func (s *Sink) recover() error {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	f, err := os.OpenFile(s.o.Path, os.O_RDWR|os.O_CREATE, 0o640)
	if err == nil {
		err = durable.SyncDirectory(filepath.Dir(s.o.Path))
	}
	if err != nil {
		return err
	}
	s.file, s.first, s.last, s.any = f, time.Time{}, audit.Place{}, false
	damaged, err := s.readEnd()
	if err == nil && !s.any {
		if err := s.readRotated(); err != nil {
			s.o.Logger.Warn("the last record of the newest rotated audit file is not known; records may be written twice", "error", err)
		}
	}
	if err == nil && damaged {
		s.o.Logger.Error("the audit file has damaged lines; it is kept as it is, and another one is begun", "file", s.o.Path)
		err = s.rotate()
	}
	if err != nil {
		_ = f.Close()
		s.file = nil
	}
	return err
}

// readEnd finds the end of the file's whole lines and the last record in it, and
// tells whether there is something between that is none.
func (s *Sink) readEnd() (damaged bool, err error) {
	info, err := s.file.Stat()
	if err != nil {
		return false, err
	}
	s.size = info.Size()
	if s.size == 0 {
		return false, nil
	}
	head := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, s.size), 1<<16)
	if text, err := head.ReadBytes('\n'); err == nil {
		if k, ok := parse(text); ok {
			s.first = k.OccurredAt
		}
	}
	from := max(0, s.size-tailBytes)
	tail := make([]byte, s.size-from)
	if _, err := s.file.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the end: %w", err)
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if torn := len(tail) - end; torn > 0 && (end > 0 || from == 0) {
		s.o.Logger.Warn("a torn line at the end of the audit file was cut off; it comes again", "file", s.o.Path, "bytes", torn)
		s.size -= int64(torn)
		if err := errors.Join(s.file.Truncate(s.size), s.file.Sync()); err != nil {
			return false, fmt.Errorf("cutting a torn line off: %w", err)
		}
		tail = tail[:end]
	} else if torn > 0 {
		return true, nil // no line is that long
	}
	if from > 0 { // begin with a whole line
		tail = tail[bytes.IndexByte(tail, '\n')+1:]
	}
	for text := range bytes.Lines(tail) {
		k, ok := parse(text)
		if !ok {
			return true, nil
		}
		s.last, s.any = k.Place, true
	}
	return false, nil
}

// readRotated finds the last record in the newest rotated file.
func (s *Sink) readRotated() error {
	all, err := s.list()
	if err != nil || len(all) == 0 {
		return err
	}
	newest := all[len(all)-1]
	f, err := os.Open(newest.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var from io.Reader = f
	if strings.HasSuffix(newest.path, packed) {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("reading %s: %w", newest.path, err)
		}
		from = z
	}
	r := bufio.NewReaderSize(from, 1<<16)
	var last []byte
	for {
		text, err := r.ReadBytes('\n')
		if err == nil {
			last = append(last[:0], text...)
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %s: %w", newest.path, err)
		}
		break
	}
	if k, ok := parse(last); ok {
		s.last, s.any = k.Place, true
	}
	return nil
}

// parse reads one of our lines.
func parse(text []byte) (known, bool) {
	var k known
	if json.Unmarshal(text, &k) != nil || k.DaemonID == "" || k.Epoch == "" {
		return known{}, false
	}
	return k, true
}
