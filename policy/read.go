package policy

import (
	"sync"

	"github.com/caracalai/caracald/policy/engine"
)

// What is read of every input, whatever the policies of a set read.
const (
	readZone = iota
	readTrace
)

var readAlways = [][]string{readZone: {"principal", "zone_id"}, readTrace: {"context", "trace_id"}}

// inputFields is inputSchema as the engine checks it.
var inputFields = sync.OnceValue(func() *engine.Field { return inputSchema.expected() })

// expected is f for the engine: what fits it is what check finds nothing wrong with.
func (f *field) expected() *engine.Field {
	e := &engine.Field{Name: f.name, Required: f.required}
	switch f.kind {
	case kindString:
		e.Kinds = []engine.Kind{engine.String}
		if f.enum != nil || f.pattern != nil {
			e.Text = f.accepts
		}
	case kindBoolean:
		e.Kinds = []engine.Kind{engine.Boolean}
	case kindScalar:
		e.Kinds = []engine.Kind{engine.String, engine.Number, engine.Boolean}
	case kindStrings, kindArray:
		e.Kinds, e.Strings = []engine.Kind{engine.Array}, f.kind == kindStrings
	case kindObject:
		e.Kinds = []engine.Kind{engine.Object}
	}
	if f.nullable && e.Kinds != nil {
		e.Kinds = append(e.Kinds, engine.Null)
	}
	for _, c := range f.fields {
		e.Fields = append(e.Fields, c.expected())
	}
	return e
}

// ReadInput reads an input document into in, checking all of it as ParseInput
// does, and keeping only what the policies of the set read. It allocates nothing
// once in was used for a few documents.
//
// in refers to raw, which must not change until in is used for another document,
// and is for one goroutine at a time. What Evaluate gives for it refers to neither.
func (s *Set) ReadInput(raw []byte, in *Input) error {
	in.raw, in.program, in.parsed = raw, nil, nil
	if s.projection != nil && len(raw) <= MaxInputBytes && s.projection.Read(raw, &in.reading) {
		in.program = s.program
		in.zoneID, in.traceID = in.reading.Wanted(readZone), in.reading.Wanted(readTrace)
		return nil
	}
	in.reading.Reset()
	whole, err := ParseInput(raw)
	if err != nil {
		return err
	}
	in.parsed, in.zoneID, in.traceID = whole, whole.zoneID, whole.traceID
	return nil
}

// Hold makes in what another input is, which has all of its document.
func (in *Input) Hold(whole *Input) {
	in.raw, in.program, in.parsed = whole.raw, nil, whole
	in.zoneID, in.traceID = whole.zoneID, whole.traceID
}

// Release lets go of the document that a set has read into in.
func (in *Input) Release() {
	in.reading.Reset()
	in.raw, in.program, in.parsed, in.zoneID, in.traceID = nil, nil, nil, "", ""
}

// Key is the text of all that the policies of the set that has read the input read
// of it: inputs with one key are one to that set. It is the whole document where
// that is not known, and is good until the next document is read.
func (in *Input) Key() []byte {
	if in.program == nil {
		return in.raw
	}
	return in.reading.Key()
}

// whole is the input with all of its document, and safe to keep.
func (in *Input) whole() (*Input, error) {
	switch {
	case in.parsed != nil:
		return in.parsed, nil
	case in.program == nil:
		return in, nil
	}
	return ParseInput(in.raw) // which copies
}
