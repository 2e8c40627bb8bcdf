package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bench/report"
)

func key(peer, metric string) report.Key {
	return report.Key{Group: "http, saturated", Workload: "A", What: "decide", Peer: peer, Metric: metric}
}

// sample is a run with two peers.
func sample(t *testing.T) *report.Report {
	t.Helper()
	r := report.New("caracal-bench --quick", true)
	for i, rate := range []float64{1000, 3000, 2000} {
		r.Add(key("ours", "rate"), report.Value{Unit: "/s", Value: rate})
		r.Add(key("theirs", "rate"), report.Value{Unit: "/s", Value: []float64{2000, 3000, 8000}[i]})
	}
	r.Latencies = []report.Curves{{Title: "Latency at 100/s", Curves: []report.Curve{
		{Name: "ours", Values: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}}, {Name: "theirs", Values: []float64{2, 3, 4, 5, 6, 7, 8, 9, 10}}}}}
	r.MadeBy("caracal-bench --only http")
	r.Note("A note.")
	r.Note("A note.")
	return r
}

func TestRowsAndQuotients(t *testing.T) {
	r := sample(t)
	row := r.Row(key("ours", "rate"))
	if row.Median != 2000 || row.Min != 1000 || row.Max != 3000 {
		t.Errorf("median %v, least %v, most %v", row.Median, row.Min, row.Max)
	}
	// The quotients of the rounds are 0.5, 1 and 0.25; that of the medians is 0.67.
	if q, ok := r.Quotient(key("ours", "rate"), key("theirs", "rate")); !ok || q != 0.5 {
		t.Errorf("quotient %v, %t", q, ok)
	}
	if _, ok := r.Quotient(key("ours", "rate"), key("nobody", "rate")); ok {
		t.Error("a quotient of what was not measured")
	}
	if len(r.Notes) != 1 {
		t.Errorf("notes: %q", r.Notes)
	}
}

func TestQuantile(t *testing.T) {
	row := &report.Row{}
	for i := range 200 {
		row.Samples = append(row.Samples, float64(200-i))
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := row.Quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestTargetsAreMet(t *testing.T) {
	r := report.New("x", true)
	for _, c := range []struct {
		key   string
		value float64
		want  string
	}{
		{"http_vs_ceiling", 0.76, "yes"}, {"http_vs_ceiling", 0.74, "no"},
		{"activation_p99_ms", 49, "yes"}, {"activation_p99_ms", 51, "no"},
		{"http_fsync_vs_ceiling", 0.1, "open"},
	} {
		r.Ratio(c.key, c.value, "a detail")
		got := "open"
		if met := r.Targets[c.key].Met; met != nil {
			got = map[bool]string{true: "yes", false: "no"}[*met]
		}
		if got != c.want || r.Ratios[c.key] != c.value {
			t.Errorf("%s %v: met %s, want %s", c.key, c.value, got, c.want)
		}
		if !strings.HasSuffix(r.Targets[c.key].What, "; a detail") {
			t.Errorf("%s: %q has no detail", c.key, r.Targets[c.key].What)
		}
	}
}

func TestPage(t *testing.T) {
	r := sample(t)
	r.Ratio("http_vs_ceiling", 0.5)
	r.Machine.Pinned = "pinned to some"
	dir := t.TempDir()
	page, plots := filepath.Join(dir, "RESULTS.md"), filepath.Join(dir, "plots")
	if err := errors.Join(r.WritePlots(plots), r.WritePage(page, plots)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `http_vs_ceiling` | 0.5 | ≥ 0.75 | no |", "| A | decide | ours | rate | 2,000 /s | 1,000 /s | 3,000 /s |",
		"Measured by `caracal-bench --only http`.", "- A note.", ", pinned to some, ", "](plots/http.svg)", "](plots/latency-1.svg)",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the page lacks %q:\n%s", want, data)
		}
	}
	for _, file := range []string{"http.svg", "latency-1.svg"} {
		svg, err := os.ReadFile(filepath.Join(plots, file))
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(svg))
		for err == nil {
			_, err = d.Token()
		}
		if !errors.Is(err, io.EOF) || !bytes.Contains(svg, []byte("theirs")) {
			t.Errorf("%s is no picture of both: %v", file, err)
		}
	}
}

func TestTable(t *testing.T) {
	r := sample(t)
	r.Ratio("http_vs_ceiling", 0.5)
	file := filepath.Join(t.TempDir(), "README.md")
	const before, after = "# Title\n\n<!-- measured -->\n", "<!-- /measured -->\n\nThe end.\n"
	if err := os.WriteFile(file, []byte(before+"old\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteTable(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if !strings.HasPrefix(text, before) || !strings.HasSuffix(text, after) || strings.Contains(text, "old") || !strings.Contains(text, "| `http_vs_ceiling` | 0.5 |") {
		t.Errorf("the file became:\n%s", text)
	}
	if err := os.WriteFile(file, []byte("no place\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteTable(file); err == nil {
		t.Error("a file without a place for the table was taken")
	}
}
