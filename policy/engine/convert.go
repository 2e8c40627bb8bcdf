package engine

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// FromAST gives the engine's form of a ground value, frozen.
func FromAST(v ast.Value) (Value, error) {
	out, err := fromAST(v, nil)
	if err == nil {
		freeze(out)
	}
	return out, err
}

// fromAST is FromAST without freezing. known are values whose forms of OPA may be parts
// of v.
func fromAST(v ast.Value, known map[ast.Value]Value) (Value, error) {
	if len(known) > 0 {
		switch v.(type) {
		case *ast.Array, ast.Set, ast.Object:
			if own, ok := known[v]; ok {
				return own, nil
			}
		}
	}
	switch v := v.(type) {
	case ast.Null:
		return null, nil
	case ast.Boolean:
		return boolean(bool(v)), nil
	case ast.Number:
		return number(string(v)), nil
	case ast.String:
		return str(string(v)), nil
	case *ast.Array:
		c := &collection{keys: make([]Value, 0, v.Len())}
		for i := range v.Len() {
			item, err := fromAST(v.Elem(i).Value, known)
			if err != nil {
				return Value{}, err
			}
			c.keys = append(c.keys, item)
			c.grown(parts(item))
		}
		return c.value(arrayKind), nil
	case ast.Set:
		c := &collection{keys: make([]Value, 0, v.Len())}
		for _, t := range v.Slice() {
			item, err := fromAST(t.Value, known)
			if err != nil {
				return Value{}, err
			}
			c.keys = append(c.keys, item)
			c.appended()
			c.grown(parts(item))
		}
		c.sorted = c.sorted || len(c.keys) == 0
		return c.value(setKind), nil
	case ast.Object:
		c := &collection{keys: make([]Value, 0, v.Len()), vals: make([]Value, 0, v.Len())}
		var failed error
		v.Until(func(k, t *ast.Term) bool {
			key, err := fromAST(k.Value, known)
			if err == nil {
				var val Value
				if val, err = fromAST(t.Value, known); err == nil {
					c.keys, c.vals = append(c.keys, key), append(c.vals, val)
					c.appended()
					c.grown(parts(key) + parts(val))
				}
			}
			failed = err
			return err != nil
		})
		c.sorted = c.sorted || len(c.keys) == 0
		return c.value(objectKind), failed
	}
	return Value{}, fmt.Errorf("a value of type %s is not data", ast.ValueName(v))
}

// FromJSON gives the engine's form, frozen, of what a JSON decoder makes: nil,
// bool, string, json.Number, []any and map[string]any.
func FromJSON(x any) (Value, error) {
	out, err := fromJSON(x)
	if err == nil {
		freeze(out)
	}
	return out, err
}

func fromJSON(x any) (Value, error) {
	switch x := x.(type) {
	case nil:
		return null, nil
	case bool:
		return boolean(x), nil
	case string:
		return str(x), nil
	case json.Number:
		return number(string(x)), nil
	case []any:
		c := &collection{keys: make([]Value, 0, len(x))}
		for _, item := range x {
			v, err := fromJSON(item)
			if err != nil {
				return Value{}, err
			}
			c.keys = append(c.keys, v)
		}
		return c.value(arrayKind), nil
	case map[string]any:
		c := &collection{keys: make([]Value, 0, len(x)), vals: make([]Value, 0, len(x)), sorted: len(x) == 0}
		for key, val := range x {
			v, err := fromJSON(val)
			if err != nil {
				return Value{}, err
			}
			c.keys, c.vals = append(c.keys, str(key)), append(c.vals, v)
			c.appended()
		}
		return c.value(objectKind), nil
	}
	return Value{}, fmt.Errorf("a %T is not JSON", x)
}

// AST gives OPA's form of a value, nil where it is undefined. It is a copy, which
// outlives the document that strings of the value are parts of.
func (v Value) AST() ast.Value {
	if t := v.term(); t != nil {
		return t.Value
	}
	return nil
}

// term is OPA's form of a value, a copy.
func (v Value) term() *ast.Term { return v.termOf(Value.term) }

// Values of keptParts and more are converted once in an evaluation, and are kept until
// mostKept parts were converted in all.
const (
	keptParts = 64
	mostKept  = 1 << 20
)

// term is the term of a value, which large ones have from before where they were
// converted in this evaluation.
func (m *machine) term(v Value) *ast.Term {
	if n := parts(v); !v.isCollection() || n < keptParts {
		m.converted += n
		return v.term()
	}
	c := v.collection()
	if t := m.terms[c]; t != nil {
		return t
	}
	t := v.termOf(m.term)
	if m.converted <= mostKept {
		if m.terms == nil {
			m.terms, m.known = map[*collection]*ast.Term{}, map[ast.Value]Value{}
		}
		m.terms[c], m.known[t.Value] = t, v
	}
	return t
}

// unconverted is how many parts of a value have to be converted for term, about.
func (m *machine) unconverted(v Value) int64 {
	n := parts(v)
	if n < keptParts || len(m.terms) == 0 || !v.isCollection() {
		return n
	}
	if m.terms[v.collection()] != nil {
		return 1
	}
	for _, item := range v.members() {
		if item.isCollection() && m.terms[item.collection()] != nil {
			n -= parts(item)
		}
	}
	return max(n, 1)
}

// termOf is a value's form of OPA, in which inner makes those of its parts.
func (v Value) termOf(inner func(Value) *ast.Term) *ast.Term {
	switch v.k {
	case nullKind:
		return ast.InternedNullTerm
	case boolKind:
		return ast.InternedTerm(v.n != 0)
	case numberKind:
		return ast.NewTerm(ast.Number(v.text()))
	case stringKind:
		return ast.NewTerm(ast.String(strings.Clone(v.string())))
	case arrayKind, setKind:
		c := v.collection()
		c.sort(v.k)
		terms := make([]*ast.Term, len(c.keys))
		for i, item := range c.keys {
			terms[i] = inner(item)
		}
		if v.k == arrayKind {
			return ast.ArrayTerm(terms...)
		}
		return ast.SetTerm(terms...)
	case objectKind:
		c := v.collection()
		c.sort(v.k)
		pairs := make([][2]*ast.Term, len(c.keys))
		for i, key := range c.keys {
			pairs[i] = [2]*ast.Term{inner(key), inner(c.vals[i])}
		}
		return ast.ObjectTerm(pairs...)
	}
	return nil
}
