// Package workload has what the benchmark asks: policies, and streams of inputs
// whose decisions are known beforehand from how they were made.
package workload

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
)

// Module is one Rego document of a workload's policy.
type Module struct{ Name, Content string }

// Workload is a policy and the inputs it is asked about.
type Workload struct {
	// Name is short and stable: it is part of the rows of a report.
	Name string
	// Title says what it is, for people.
	Title string
	// Modules are the policy as Rego, all in package caracal.authz.
	Modules []Module
	// Cedar is an equivalent policy in Cedar, "" where there is none.
	Cedar string
	// Cerbos is an equivalent policy in Cerbos's YAML files, nil where there is none.
	Cerbos fs.FS
	// Rules is the number of rules of the rules workload, 0 in the others.
	Rules int

	next func(s *Source, zone string, dst []byte) (body []byte, allow bool)
}

// Source gives the inputs of a workload one after another. It is for one
// goroutine. Equal seeds give equal inputs, whoever is asked.
type Source struct {
	next  func(s *Source, zone string, dst []byte) ([]byte, bool)
	write func(q *Request, dst []byte, zone string, r *rand.Rand) []byte
	rand  *rand.Rand
	zipf  *rand.Zipf
	zones []string
}

// Inputs starts a stream of inputs spread evenly over zones.
func (w *Workload) Inputs(seed uint64, zones ...string) *Source {
	if len(zones) == 0 {
		zones = []string{DefaultZone}
	}
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	return &Source{next: w.next, write: (*Request).AppendJSON, rand: r, zipf: rand.NewZipf(r, ZipfS, 1, Principals-1), zones: zones}
}

// DefaultZone is the zone of inputs for which no other is named.
const DefaultZone = "zone-0000"

// Next appends one input document to dst and tells whether it is allowed.
func (s *Source) Next(dst []byte) (body []byte, allow bool) {
	zone := s.zones[0]
	if len(s.zones) > 1 {
		zone = s.zones[s.rand.IntN(len(s.zones))]
	}
	return s.next(s, zone, dst)
}

// Zones names n zones.
func Zones(n int) []string {
	zones := make([]string, n)
	for i := range zones {
		zones[i] = fmt.Sprintf("zone-%04d", i)
	}
	return zones
}

// Find is the workload of a name, nil where there is none.
func Find(name string) *Workload {
	switch name {
	case "A":
		return Reference()
	case "B10":
		return Rules(10)
	case "B1000":
		return Rules(1000)
	case "B10000":
		return Rules(10000)
	}
	for _, w := range Shapes() {
		if w.Name == name {
			return w
		}
	}
	return nil
}
