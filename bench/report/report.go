// Package report keeps what was measured and writes it for machines and people.
package report

import (
	"cmp"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// Value is one sample of one metric.
type Value struct {
	Metric, Unit string
	Value        float64
}

// Key names a row.
type Key struct {
	Group    string `json:"group"`
	Workload string `json:"workload"`
	What     string `json:"what"`
	Peer     string `json:"peer"`
	Metric   string `json:"metric"`
}

// Row is what the samples of one metric came to.
type Row struct {
	Key
	Unit   string  `json:"unit,omitempty"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Samples are in the order of the rounds.
	Samples []float64 `json:"samples"`
}

// Report is one run.
type Report struct {
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Quick   bool      `json:"quick"`
	// Command made the whole run, Commands makes each group of rows again.
	Command  string            `json:"command"`
	Commands map[string]string `json:"commands"`
	Machine  Machine           `json:"machine"`
	// Versions of Go and of the modules that were compared.
	Versions map[string]string `json:"versions"`
	Rows     []*Row            `json:"rows"`
	// Ratios are the figures that have a target, by a key that does not change.
	Ratios map[string]float64 `json:"ratios"`
	// Targets say what each ratio should be.
	Targets map[string]Target `json:"targets"`
	// Latencies are distributions of what was asked at fixed rates.
	Latencies []Curves `json:"latencies,omitempty"`
	// Notes are what a reader has to know of how this run was made.
	Notes []string `json:"notes"`

	index      map[Key]*Row
	benchmarks []benchmark
}

// Machine is where it ran.
type Machine struct {
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Processors int    `json:"processors"`
	// Pinned tells which processors servers and loader were kept on, or that they were not.
	Pinned   string `json:"pinned"`
	Model    string `json:"model,omitempty"`
	Kernel   string `json:"kernel,omitempty"`
	MemoryMB int    `json:"memory_mb,omitempty"`
	// Load is the load average of the minute before the run: what else ran.
	Load float64 `json:"load"`
	// FileSystem is the type of that on which stores and spools are.
	FileSystem string `json:"file_system,omitempty"`
}

// New begins the report of a run.
func New(command string, quick bool) *Report {
	r := &Report{
		Started: time.Now().UTC(), Quick: quick, Command: command, Machine: machine(), Versions: map[string]string{"go": runtime.Version()},
		Rows: []*Row{}, Commands: map[string]string{}, Ratios: map[string]float64{}, Targets: map[string]Target{}, Notes: []string{}, index: map[Key]*Row{},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			switch m.Path {
			case "github.com/open-policy-agent/opa", "github.com/cedar-policy/cedar-go", "github.com/valyala/fasthttp", "github.com/HdrHistogram/hdrhistogram-go":
				r.Versions[m.Path] = m.Version
			}
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				r.Versions[s.Key] = s.Value
			}
		}
	}
	return r
}

// Quantiles are those of Curve, in percent.
var Quantiles = []float64{10, 25, 50, 75, 90, 95, 99, 99.5, 99.9}

// Curve is a distribution of latencies: Values, in ms, are at Quantiles.
type Curve struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
}

// Curves are distributions that belong together.
type Curves struct {
	Title  string  `json:"title"`
	Curves []Curve `json:"curves"`
}

// Add adds one sample.
func (r *Report) Add(k Key, v Value) {
	row := r.index[k]
	if row == nil {
		row = &Row{Key: k, Unit: v.Unit}
		r.index[k] = row
		r.Rows = append(r.Rows, row)
	}
	row.Samples = append(row.Samples, v.Value)
	sorted := slices.Sorted(slices.Values(row.Samples))
	row.Median, row.Min, row.Max = Median(sorted), sorted[0], sorted[len(sorted)-1]
}

// Note adds a note, once.
func (r *Report) Note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// MadeBy names the command that measures again what has none yet.
func (r *Report) MadeBy(command string) {
	for _, group := range r.Groups() {
		if r.Commands[group] == "" {
			r.Commands[group] = command
		}
	}
}

// Row finds a row, nil where there is none.
func (r *Report) Row(k Key) *Row { return r.index[k] }

// Quantile is the smallest sample that a share q, 0 to 1, of the samples do not
// exceed.
func (r *Row) Quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(r.Samples))
	return sorted[min(max(int(math.Ceil(q*float64(len(sorted))))-1, 0), len(sorted)-1)]
}

// Quotient is the median over the rounds of a's sample divided by b's of the
// same round; samples of one round were taken one soon after the other.
func (r *Report) Quotient(a, b Key) (float64, bool) {
	x, y := r.index[a], r.index[b]
	if x == nil || y == nil {
		return 0, false
	}
	var q []float64
	for i := range min(len(x.Samples), len(y.Samples)) {
		if y.Samples[i] != 0 {
			q = append(q, x.Samples[i]/y.Samples[i])
		}
	}
	if len(q) == 0 {
		return 0, false
	}
	slices.Sort(q)
	return Median(q), true
}

// Median is the middle of sorted numbers.
func Median(sorted []float64) float64 {
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// Groups are the groups of rows, in the order in which they were measured.
func (r *Report) Groups() []string {
	var groups []string
	for _, row := range r.Rows {
		if !slices.Contains(groups, row.Group) {
			groups = append(groups, row.Group)
		}
	}
	return groups
}

// Of gives the rows of a group, ordered by what and in which order they were measured.
func (r *Report) Of(group string) []*Row {
	var rows []*Row
	order := map[string]int{}
	for _, row := range r.Rows {
		if row.Group == group {
			rows = append(rows, row)
			if id := row.Workload + "\x00" + row.What; order[id] == 0 {
				order[id] = len(order) + 1
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b *Row) int {
		return cmp.Compare(order[a.Workload+"\x00"+a.What], order[b.Workload+"\x00"+b.What])
	})
	return rows
}
