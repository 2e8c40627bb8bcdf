package engine_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/caracalai/caracald/policy/engine"
)

var documents = []string{
	`{}`, `[]`, `""`, `0`, `-1`, `1.5`, `true`, `false`, `null`, ` { "a" : [ 1 , 2.50 , "x" ] } `,
	`{"b":1,"a":{"c":[],"d":{}},"é":"\n\"\\\/"}`, `{"a":1,"a":2}`, `[1,]`, `[,1]`, `{"a":}`, `{"a"}`, `{a:1}`, `01`, `-`, `1.`, `.5`, `+1`, `1e3`, `-0`,
	`123456789012345678`, `1234567890123456789`, `0.1234567890123456789012345678901234`, `"\u00e9"`, `"\ud800"`, `"` + "\xff" + `"`, `"` + "\x01" + `"`, `"abc`, `"\`, `"\q"`,
	`truefalse`, `tru`, `1 2`, `{} {}`, strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
	`{"k01":1,"k02":2,"k03":3,"k04":4,"k05":5,"k06":6,"k07":7,"k08":8,"k09":9,"k10":10,"k11":11,"k12":12,"k13":13,"k05":0}`,
	"\ufeff{}", `{"a":1}` + "\x00", "{\"a\":\v1}", `"é` + "\xc3" + `"`, `[1.0, 1.00, -1.50, 10, -10]`,
}

func FuzzReadJSON(f *testing.F) {
	for _, d := range documents {
		f.Add([]byte(d))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { readAlike(t, raw) })
}

// readAlike fails if ReadJSON reads what a strict reader refuses, or something
// else than it.
func readAlike(t *testing.T, raw []byte) {
	v, ok := engine.ReadJSON(bytes.Clone(raw))
	if !ok {
		return
	}
	if err := strict(raw); err != nil {
		t.Fatalf("%q was read; a strict reader says %v", raw, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var x any
	if err := decoder.Decode(&x); err != nil {
		t.Fatalf("%q was read; encoding/json says %v", raw, err)
	}
	want, err := ast.InterfaceToValue(x)
	if err != nil {
		t.Fatal(err)
	}
	// The text tells 1.0 from 1, which are equal.
	if got := v.AST(); got.Compare(want) != 0 || got.String() != want.String() {
		t.Fatalf("%q was read as %v; want %v", raw, got, want)
	}
}

// strict reads one document, no name twice in an object, all in UTF-8.
func strict(raw []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(raw))
	if err := decoder.SkipValue(); err != nil {
		return err
	}
	if _, err := decoder.ReadToken(); err != io.EOF {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// What is ordinary is read, and not left to the slower reader.
func TestReadJSON(t *testing.T) {
	for _, d := range documents {
		readAlike(t, []byte(d))
	}
	for _, d := range documents[:11] {
		if _, ok := engine.ReadJSON([]byte(d)); !ok {
			t.Errorf("%s was not read", d)
		}
	}
	for _, d := range documents[11:] {
		if _, ok := engine.ReadJSON([]byte(d)); ok && strict([]byte(d)) != nil {
			t.Errorf("%q was read", d)
		}
	}
}
