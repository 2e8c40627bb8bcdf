package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/caracalai/caracald/policy/engine"
)

// Limits of an input document.
const (
	// MaxInputBytes is the size of the largest input document.
	MaxInputBytes = 1 << 20
	// MaxInputDepth is how deep objects and arrays of an input may nest; the
	// document itself is level 1.
	MaxInputDepth = 64
	// MaxNumberLength is the most characters one number may have.
	MaxNumberLength = 128
)

// InputError says which value of an input document is wrong.
type InputError struct {
	// Pointer is the RFC 6901 pointer of the value; empty for the whole document.
	Pointer string
	// Message says what is wrong with it.
	Message string
}

func (e *InputError) Error() string {
	if e.Pointer == "" {
		return "input: " + e.Message
	}
	return "input " + e.Pointer + ": " + e.Message
}

// Is matches ErrInvalidInput.
func (e *InputError) Is(target error) bool { return target == ErrInvalidInput }

// Input is an input document that passed ParseInput, and is then immutable and
// safe for concurrent use, or that a Set has read.
type Input struct {
	raw     []byte
	compact engine.Value
	// reading is what a set has read of raw, which is the caller's, for its
	// program; nil where the input has all of the document, and keeps it.
	program *engine.Program
	reading engine.Reading
	// parsed is the whole of raw, where a set could not read just a part of it.
	parsed *Input
	// value is compact in OPA's form, made when it is first asked for.
	value   ast.Value
	once    sync.Once
	zoneID  string
	traceID string
}

// document is the input in OPA's form.
func (in *Input) document() ast.Value {
	in.once.Do(func() { in.value = in.compact.AST() })
	return in.value
}

// Raw is the document exactly as it was given. Callers must not modify it.
func (in *Input) Raw() []byte { return in.raw }

// ZoneID is principal.zone_id.
func (in *Input) ZoneID() string { return in.zoneID }

// TraceID is context.trace_id, or empty where there is none.
func (in *Input) TraceID() string { return in.traceID }

// ParseInput checks that raw is one input document: a JSON object in valid
// UTF-8 with no duplicate names, within the limits above, whose fields are
// those of InputSchema. Fields that the schema does not know are allowed
// everywhere. Every number has to fit a double's range. Optional fields may be
// null. The error is an *InputError.
//
// The input keeps a copy of raw.
func ParseInput(raw []byte) (*Input, error) {
	if len(raw) > MaxInputBytes {
		return nil, &InputError{Message: fmt.Sprintf("is %d bytes long; at most %d are accepted", len(raw), MaxInputBytes)}
	}
	kept := bytes.Clone(raw)
	if v, ok := engine.ReadJSON(kept); ok && inputFields().Fits(v) {
		return &Input{
			raw: kept, compact: v,
			zoneID:  v.Get("principal").Get("zone_id").Text(),
			traceID: v.Get("context").Get("trace_id").Text(),
		}, nil
	}
	return readInput(kept)
}

// readInput reads an input document that is unusual, or wrong, and says what is.
func readInput(raw []byte) (*Input, error) {
	p := inputParser{dec: jsontext.NewDecoder(bytes.NewBuffer(slices.Clip(raw)))}
	v, err := p.value(1)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.ReadToken(); err == nil {
		return nil, &InputError{Message: "is followed by more data"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(err)
	}
	if err := inputSchema.check("", v); err != nil {
		return nil, err
	}
	compact, err := engine.FromJSON(v)
	if err != nil {
		return nil, &InputError{Message: err.Error()}
	}
	root := v.(map[string]any)
	in := &Input{raw: raw, compact: compact}
	in.zoneID, _ = root["principal"].(map[string]any)["zone_id"].(string)
	in.traceID, _ = root["context"].(map[string]any)["trace_id"].(string)
	return in, nil
}

// inputParser reads one JSON value into Go values, numbers as json.Number.
type inputParser struct {
	dec *jsontext.Decoder
}

func (p *inputParser) value(depth int) (any, error) {
	tok, err := p.dec.ReadToken()
	if err != nil {
		return nil, syntaxError(err)
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return tok.Bool(), nil
	case '"':
		return tok.String(), nil
	case '0':
		return p.number(tok.String())
	case '[':
		if depth > MaxInputDepth {
			return nil, p.tooDeep()
		}
		list := []any{}
		for p.dec.PeekKind() != ']' {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := p.dec.ReadToken(); err != nil {
			return nil, syntaxError(err)
		}
		return list, nil
	default: // '{', the decoder refuses an end without a beginning
		if depth > MaxInputDepth {
			return nil, p.tooDeep()
		}
		object := map[string]any{}
		for p.dec.PeekKind() != '}' {
			name, err := p.dec.ReadToken()
			if err != nil {
				return nil, syntaxError(err)
			}
			key := name.String() // the token is only good until the next read
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			object[key] = v
		}
		if _, err := p.dec.ReadToken(); err != nil {
			return nil, syntaxError(err)
		}
		return object, nil
	}
}

func (p *inputParser) tooDeep() error {
	return &InputError{
		Pointer: string(p.dec.StackPointer()),
		Message: fmt.Sprintf("nests deeper than %d levels", MaxInputDepth),
	}
}

// number refuses what policies could not calculate with in bounded time and
// memory: 1e999999999 is short to write and long to add.
func (p *inputParser) number(text string) (any, error) {
	if len(text) > MaxNumberLength {
		return nil, &InputError{
			Pointer: string(p.dec.StackPointer()),
			Message: fmt.Sprintf("is a number of %d characters; at most %d are accepted", len(text), MaxNumberLength),
		}
	}
	if !inDoubleRange(text) {
		return nil, &InputError{
			Pointer: string(p.dec.StackPointer()),
			Message: "is a number outside the range of a double",
		}
	}
	return json.Number(text), nil
}

// inDoubleRange reports whether a JSON number's magnitude is one a double has.
func inDoubleRange(text string) bool {
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(text[i+1:])
		return err == nil && exponent > -400 && exponent < 400
	}
	return true
}

func syntaxError(err error) error {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return &InputError{
			Pointer: string(syntactic.JSONPointer),
			Message: fmt.Sprintf("is not valid JSON at byte %d: %v", syntactic.ByteOffset, syntactic.Err),
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &InputError{Message: "is not valid JSON: it ends too early"}
	}
	return &InputError{Message: "is not valid JSON: " + err.Error()}
}

// check reports the first value at or below pointer that does not fit f.
func (f *field) check(pointer string, v any) error {
	if v == nil && f.nullable {
		return nil
	}
	wrong := func(want string) error {
		return &InputError{Pointer: pointer, Message: fmt.Sprintf("must be %s, not %s", want, jsonType(v))}
	}
	switch f.kind {
	case kindString:
		s, ok := v.(string)
		if !ok {
			return wrong("a string")
		}
		return f.checkString(pointer, s)
	case kindBoolean:
		if _, ok := v.(bool); !ok {
			return wrong("a boolean")
		}
	case kindScalar:
		switch v.(type) {
		case string, bool, json.Number:
		default:
			return wrong("a string, a number or a boolean")
		}
	case kindStrings, kindArray:
		list, ok := v.([]any)
		if !ok {
			return wrong("an array")
		}
		if f.kind == kindArray {
			return nil
		}
		for i, item := range list {
			if _, ok := item.(string); !ok {
				pointer += "/" + strconv.Itoa(i)
				return &InputError{Pointer: pointer, Message: "must be a string, not " + jsonType(item)}
			}
		}
	case kindObject:
		object, ok := v.(map[string]any)
		if !ok {
			return wrong("an object")
		}
		for _, c := range f.fields {
			below := pointer + "/" + c.name
			value, present := object[c.name]
			if !present {
				if c.required {
					return &InputError{Pointer: below, Message: "is required"}
				}
				continue
			}
			if err := c.check(below, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *field) checkString(pointer, s string) error {
	if f.accepts(s) {
		return nil
	}
	if f.enum != nil {
		return &InputError{Pointer: pointer, Message: fmt.Sprintf("must be %s, not %q", strings.Join(f.enum, " or "), abbreviate(s))}
	}
	return &InputError{Pointer: pointer, Message: "must match " + f.pattern.String()}
}

// accepts reports whether f may be a certain string: one of a few, or one that
// matches.
func (f *field) accepts(s string) bool {
	switch {
	case f.enum != nil:
		return slices.Contains(f.enum, s)
	case f.matches != nil:
		return f.matches(s)
	}
	return true
}

// abbreviate keeps a caller's text from filling an error message.
func abbreviate(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}
