package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// print writes a line for people.
func (a *app) print(line string) error {
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// show prints v as JSON, or what text makes of it.
func (a *app) show(v any, text func() error) error {
	if !a.json {
		return text()
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints rows under a header.
func (a *app) table(header []string, rows [][]string) error {
	t := table.NewWriter()
	t.SetStyle(plain)
	head := make(table.Row, len(header))
	for i, h := range header {
		head[i] = h
	}
	t.AppendHeader(head)
	for _, r := range rows {
		row := make(table.Row, len(r))
		for i, c := range r {
			row[i] = c
		}
		t.AppendRow(row)
	}
	return a.print(t.Render())
}

// plain has no lines: it can be read and cut alike.
var plain = func() table.Style {
	s := table.StyleDefault
	s.Options = table.OptionsNoBordersAndSeparators
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "  "
	return s
}()

// fields prints names and values below each other.
func (a *app) fields(pairs ...string) error {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, len(pairs[i]))
	}
	for i := 0; i < len(pairs); i += 2 {
		if _, err := fmt.Fprintf(a.out, "%-*s  %s\n", width, pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func whenOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return when(*t)
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

// indent puts two spaces before each line.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

// progress shows how far long work is, on a terminal only. total -1 is not known.
func (a *app) progress(total int64, what string) *progressbar.ProgressBar {
	out := io.Discard
	if f, ok := a.errs.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		out = f
	}
	// With an interval of its own for spinning, the library reads the bar's state on
	// a goroutine while others change it; without, it spins as progress is made.
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what), progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionShowCount(), progressbar.OptionSetWidth(30))
}
