// Command report reads the output of go test -bench and writes what it says as
// a table into the files it is given, between the lines
// <!-- measured --> and <!-- /measured -->.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	begin = "<!-- measured -->"
	end   = "<!-- /measured -->"
)

// row is one line of the table; ratio compares it with the row named peer.
type row struct{ title, name, peer string }

var rows = []row{
	{"evaluate, input parsed before", "Evaluate/peer=caracal", "Evaluate/peer=opa"},
	{"the same by OPA as a library", "Evaluate/peer=opa", ""},
	{"from request bytes to answer bytes", "BytesToBytes/peer=caracal", "BytesToBytes/peer=opa"},
	{"the same by OPA as a library", "BytesToBytes/peer=opa", ""},
	{"`/v1/decide` over HTTP, record fsynced before the answer", "HTTP/peer=caracal/audit=fsync/cache=off", "HTTP/peer=bare"},
	{"`/v1/decide` over HTTP, record left to the OS", "HTTP/peer=caracal/audit=os/cache=off", "HTTP/peer=bare"},
	{"the same with the decision cache", "HTTP/peer=caracal/audit=os/cache=on", "HTTP/peer=bare"},
	{"a bare fasthttp handler (the ceiling)", "HTTP/peer=bare", ""},
}

var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

func main() {
	if err := run(os.Stdin, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, files []string) error {
	measured := map[string][]float64{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fmt.Println(lines.Text())
		if m := line.FindStringSubmatch(lines.Text()); m != nil {
			ns, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return err
			}
			measured[m[1]] = append(measured[m[1]], ns)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	table, err := render(measured)
	if err != nil {
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		before, rest, ok := strings.Cut(string(data), begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			return fmt.Errorf("%s has no place for the table: %s and %s", name, begin, end)
		}
		if err := os.WriteFile(name, []byte(before+begin+"\n"+table+end+after), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func render(measured map[string][]float64) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Median of the runs, with the least and the most, of one `make bench` on %s: %d processors, %s/%s, %s.\n\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	b.WriteString("| What | Time | Spread | Ratio |\n|---|---|---|---|\n")
	for _, r := range rows {
		list := measured[r.name]
		if len(list) == 0 {
			return "", fmt.Errorf("%s was not measured", r.name)
		}
		slices.Sort(list)
		ratio := ""
		if peers := measured[r.peer]; r.peer != "" && len(peers) > 0 {
			slices.Sort(peers)
			ratio = fmt.Sprintf("%.2f times %s", median(list)/median(peers), map[bool]string{true: "the ceiling's", false: "OPA's"}[strings.Contains(r.peer, "bare")])
		}
		fmt.Fprintf(&b, "| %s | %s | %s to %s | %s |\n", r.title, show(median(list)), show(list[0]), show(list[len(list)-1]), ratio)
	}
	return b.String(), nil
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

func show(ns float64) string { return fmt.Sprintf("%.1f µs", ns/1000) }
