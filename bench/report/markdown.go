package report

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	begin = "<!-- measured -->"
	end   = "<!-- /measured -->"
)

// WriteTable writes the table of targets between the two lines of the file
// that say where it belongs.
func (r *Report) WriteTable(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table: %s and %s", file, begin, end)
	}
	table := fmt.Sprintf("Measured in one run of `%s` on %s: %s.\n\n%s", r.Command, day(r.Started), r.Machine, r.ratios())
	return os.WriteFile(file, []byte(before+begin+"\n"+table+end+after), 0o644)
}

// WritePage writes all results as a page of Markdown, with the plots that were
// written to the directory plots.
func (r *Report) WritePage(file, plots string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured\n\nWritten by `%s` on %s, in %.0f s. Figures of another machine differ; their ratios are what counts. The last column of a table is the confidence interval of the median, where there are samples enough for one.\n\n", r.Command, day(r.Started), r.Seconds)
	fmt.Fprintf(&b, "- Machine: %s\n", r.Machine)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "- %s: %s\n", name, r.Versions[name])
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	fmt.Fprintf(&b, "\n## Targets\n\n%s", r.ratios())
	if plots != "" {
		dir, err := filepath.Rel(filepath.Dir(file), plots)
		if err != nil {
			return err
		}
		for _, p := range r.plots() {
			fmt.Fprintf(&b, "\n![%s](%s)\n", p.title, filepath.ToSlash(filepath.Join(dir, p.file)))
		}
	}
	for _, group := range r.Groups() {
		fmt.Fprintf(&b, "\n## %s\n\nMeasured by `%s`.\n\n| Workload | What | Peer | Metric | Median | Least | Most | 95%% interval |\n|---|---|---|---|---|---|---|---|\n", strings.ToUpper(group[:1])+group[1:], r.Commands[group])
		for _, row := range r.Of(group) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", row.Workload, row.What, row.Peer, row.Metric,
				Show(row.Median, row.Unit), Show(row.Min, row.Unit), Show(row.Max, row.Unit), row.interval())
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// ratios is the table of targets.
func (r *Report) ratios() string {
	var b strings.Builder
	b.WriteString("| Ratio | Measured | Target | Met | How |\n|---|---|---|---|---|\n")
	for _, t := range Targets {
		if value, ok := r.Ratios[t.Key]; ok {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", t.Key, number(value), t.Wanted(), yes(r.Targets[t.Key].Met), r.Targets[t.Key].What)
		}
	}
	return b.String()
}

// String describes the machine in one line.
func (m Machine) String() string {
	parts := []string{fmt.Sprintf("%d processors", m.Processors)}
	if m.Model != "" {
		parts[0] += " (" + m.Model + ")"
	}
	if m.Pinned != "" {
		parts = append(parts, m.Pinned)
	}
	if m.MemoryMB > 0 {
		parts = append(parts, fmt.Sprintf("%d GiB", (m.MemoryMB+512)/1024))
	}
	parts = append(parts, m.OS+"/"+m.Arch)
	if m.Kernel != "" {
		parts = append(parts, "kernel "+m.Kernel)
	}
	if m.FileSystem != "" {
		parts = append(parts, m.FileSystem)
	}
	if m.Load >= 0.5 {
		parts = append(parts, fmt.Sprintf("a load average of %.1f beforehand", m.Load))
	}
	return strings.Join(parts, ", ")
}
