package engine

import "unsafe"

// Kind is a type of values, as JSON and Rego name them.
type Kind string

// The kinds, in Rego's order; Undefined is no value.
const (
	Undefined Kind = ""
	Null      Kind = "null"
	Boolean   Kind = "boolean"
	Number    Kind = "number"
	String    Kind = "string"
	Array     Kind = "array"
	Object    Kind = "object"
	Set       Kind = "set"
)

var kinds = [...]Kind{Undefined, Null, Boolean, Number, String, Array, Object, Set}

// Kind is the type of v.
func (v Value) Kind() Kind { return kinds[v.k] }

// Text is the string that v is, "" where it is none.
func (v Value) Text() string {
	if v.k != stringKind {
		return ""
	}
	return v.string()
}

// Len is how many members an array, a set or an object has, 0 for others.
func (v Value) Len() int {
	if !v.isCollection() {
		return 0
	}
	return len(v.collection().keys)
}

// Item is element i of an array.
func (v Value) Item(i int) Value { return v.collection().keys[i] }

// Get is v[name], for an object; undefined otherwise.
func (v Value) Get(name string) Value {
	if v.k != objectKind {
		return Value{}
	}
	return get(v, str(name))
}

// Constant names a collection that was put together once, when the program was
// compiled: the one name is of one value for as long as the program. It is nil for
// any other value.
func (v Value) Constant() unsafe.Pointer {
	if !v.isCollection() || !v.collection().constant {
		return nil
	}
	return v.p
}
