package policy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// FuzzParseInput holds the two readers of input documents to each other: what
// the fast one accepts is what the other reads.
func FuzzParseInput(f *testing.F) {
	files, err := filepath.Glob("../examples/payments/inputs/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range append(files, "testdata/reference/input.json") {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		for _, change := range [][2]string{
			{`"agent"`, `7`}, {`"scopes"`, `"scopes":[],"scopes"`}, {`false`, `null`}, {`"POST"`, `"P\u00d6ST"`}, {`"POST"`, `"P\nST"`}, {`{}`, `{"a":1e400}`},
			{`"context"`, `"contexts"`}, {`ZONE_ID`, `no/zone`}, {`}`, `]`}, {`"2026-05-20"`, `"2026-05-21"`}, {`[]`, `[1.50, -7, null]`}, {`null`, `{"id":"e","path":3}`},
		} {
			f.Add(bytes.Replace(raw, []byte(change[0]), []byte(change[1]), 1))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > policy.MaxInputBytes {
			return
		}
		got, err := policy.ParseInput(raw)
		want, slowErr := policy.ReadInputSlowly(bytes.Clone(raw))
		if (err == nil) != (slowErr == nil) || err != nil && err.Error() != slowErr.Error() {
			t.Fatalf("%q: %v; the slow reader: %v", raw, err, slowErr)
		}
		if err == nil && (!policy.SameDocument(got, want) || !bytes.Equal(got.Raw(), raw)) {
			t.Fatalf("%q was read differently", raw)
		}
	})
}
