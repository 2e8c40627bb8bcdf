package workload

import (
	"embed"
	"io/fs"
	"math/rand/v2"
)

//go:embed cerbos/*.yaml
var cerbosFiles embed.FS

var referenceCerbos = func() fs.FS {
	dir, err := fs.Sub(cerbosFiles, "cerbos")
	if err != nil {
		panic(err) // the name is valid
	}
	return dir
}()

// CerbosInputs starts a stream of what Inputs gives with the same seed and
// zones, as the requests that Cerbos's API takes. It is for workloads that have
// a policy for Cerbos.
func (w *Workload) CerbosInputs(seed uint64, zones ...string) *Source {
	s := w.Inputs(seed, zones...)
	s.write = (*Request).AppendCerbos
	return s
}

// AppendCerbos appends the request to check one resource for one action, with
// all that the input document has: what Cerbos has a place for is there (the
// principal's roles, the kind of the resource, the action), and the rest are
// attributes.
func (q *Request) AppendCerbos(dst []byte, zone string, r *rand.Rand) []byte {
	p := q.Principal
	dst = append(dst, p.cerbos...)
	dst = append(dst, zone...)
	dst = append(dst, p.tail[:len(p.tail)-1]...) // without the comma
	dst = append(dst, `},"resources":[{"actions":["token:exchange"],"resource":`...)
	dst = append(dst, q.Resource.cerbos...)
	dst = append(dst, `"schema_version":"2026-05-20","method":"POST","path":"/oauth/token",`...)
	return append(q.appendCircumstances(dst, r), "}}}]}"...)
}
