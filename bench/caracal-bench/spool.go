package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caracalai/caracald/bench/report"
)

// spooled is what a daemon's spool holds on disk, in bytes and records. Its last
// segment is the one that is being written.
type spooled struct {
	segments                int
	records                 int64
	closedBytes, lastBytes  int64
	closedRecords, lastFrom int64
}

// segment is a file of a spool; it is named by the number of its first record.
type segment struct{ from, size int64 }

// spool looks at the spool of a daemon that has answered so many decisions.
func spool(dir string, records int64) (spooled, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "spool"))
	if err != nil {
		return spooled{}, fmt.Errorf("looking at the spool: %w", err)
	}
	var segments []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok {
			continue
		}
		from, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return spooled{}, fmt.Errorf("looking at the spool: %w", err)
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		if err != nil {
			return spooled{}, fmt.Errorf("looking at the spool: %w", err)
		}
		segments = append(segments, segment{from, info.Size()})
	}
	if len(segments) == 0 {
		return spooled{}, errors.New("the spool has no segment")
	}
	slices.SortFunc(segments, func(a, b segment) int { return cmp.Compare(a.from, b.from) })
	last := segments[len(segments)-1]
	s := spooled{segments: len(segments), records: records, lastBytes: last.size, lastFrom: last.from, closedRecords: last.from - segments[0].from}
	for _, seg := range segments[:len(segments)-1] {
		s.closedBytes += seg.size
	}
	return s, nil
}

// record is the size of a record for good: that in closed segments, where there
// are any.
func (s spooled) record() float64 {
	if s.closedRecords == 0 {
		return s.whole()
	}
	return float64(s.closedBytes) / float64(s.closedRecords)
}

// whole is the size of all by the number of records, however full the segment is
// that is being written.
func (s spooled) whole() float64 { return float64(s.closedBytes+s.lastBytes) / float64(s.records) }

func (s spooled) values() []report.Value {
	values := []report.Value{
		{Metric: "records", Value: float64(s.records)},
		{Metric: "segments", Value: float64(s.segments)},
		{Metric: "size by record, in all", Unit: "B", Value: s.whole()},
	}
	if s.closedRecords > 0 {
		values = append(values, report.Value{Metric: "size by record, in closed segments", Unit: "B", Value: s.record()})
	}
	if written := s.records - s.lastFrom; written > 0 {
		values = append(values, report.Value{Metric: "size by record, in the segment that is written", Unit: "B", Value: float64(s.lastBytes) / float64(written)})
	}
	return values
}
