package engine

import (
	"cmp"
	"hash/maphash"
	"strconv"
	"strings"
	"unsafe"

	"github.com/open-policy-agent/opa/v1/ast"
)

// kind is the type of a value, in Rego's order of types.
type kind uint8

const (
	undefined kind = iota
	nullKind
	boolKind
	numberKind
	stringKind
	arrayKind
	objectKind
	setKind
)

// Value is a Rego value, or undefined, which is the zero Value. It is 24 bytes
// without an interface's indirection, so that frames and collections are flat.
//
//	bool    n is 0 or 1
//	number  n is the integer where p is nil; p is *string, its text, otherwise
//	string  p is the first byte, n the length
//	others  p is *collection
type Value struct {
	p unsafe.Pointer
	n int64
	k kind
}

var (
	null       = Value{k: nullKind}
	falseValue = Value{k: boolKind}
	trueValue  = Value{k: boolKind, n: 1}
)

func boolean(b bool) Value {
	if b {
		return trueValue
	}
	return falseValue
}

func integer(n int64) Value { return Value{k: numberKind, n: n} }

func str(s string) Value {
	return Value{k: stringKind, n: int64(len(s)), p: unsafe.Pointer(unsafe.StringData(s))}
}

// number is the number with that text, which is kept where it is not the one
// way to write an int64.
func number(text string) Value {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' && strconv.FormatInt(n, 10) == text {
		return integer(n)
	}
	return Value{k: numberKind, p: unsafe.Pointer(&text)}
}

// Parts is how many values v consists of, each as often as it occurs, itself included.
func (v Value) Parts() int64 { return parts(v) }

// Defined reports whether there is a value.
func (v Value) Defined() bool { return v.k != undefined }

func (v Value) string() string {
	return unsafe.String((*byte)(v.p), int(v.n))
}

// whole is the integer that a number is, however it is written: 2, 2.0 and -0 are. OPA
// takes them alike for places in arrays and for numbers of things.
func (v Value) whole() (n int64, ok bool) {
	switch {
	case v.k != numberKind:
		return 0, false
	case v.p == nil:
		return v.n, true
	}
	return ast.Number(v.text()).Int64()
}

// isInt reports whether it is an integer that fits in 64 bits and is written as one.
func (v Value) isInt() bool { return v.k == numberKind && v.p == nil }

// text is how a number is written.
func (v Value) text() string {
	if v.p == nil {
		return strconv.FormatInt(v.n, 10)
	}
	return *(*string)(v.p)
}

func (v Value) collection() *collection { return (*collection)(v.p) }

func (v Value) isCollection() bool { return v.k >= arrayKind }

func (v Value) isFalse() bool { return v.k == boolKind && v.n == 0 }

// equal is Rego's equality: numbers by what they are, not how they are written.
func equal(a, b Value) bool {
	if a.k != b.k {
		return false
	}
	switch a.k {
	case boolKind:
		return a.n == b.n
	case numberKind:
		if a.p == nil && b.p == nil {
			return a.n == b.n
		}
		return compareNumbers(a, b) == 0
	case stringKind:
		return a.n == b.n && (a.p == b.p || a.string() == b.string())
	case arrayKind, objectKind, setKind:
		return a.p == b.p || equalCollections(a, b)
	}
	return true
}

// compare is Rego's order: of types, and within a type.
func compare(a, b Value) int {
	if a.k != b.k {
		return cmp.Compare(a.k, b.k)
	}
	switch a.k {
	case boolKind:
		return cmp.Compare(a.n, b.n)
	case numberKind:
		return compareNumbers(a, b)
	case stringKind:
		return strings.Compare(a.string(), b.string())
	case arrayKind, objectKind, setKind:
		if a.p == b.p {
			return 0
		}
		return compareCollections(a, b)
	}
	return 0
}

// compareNumbers is exact where an integer is not small.
func compareNumbers(a, b Value) int {
	if a.p == nil && b.p == nil {
		return cmp.Compare(a.n, b.n)
	}
	return ast.Number(a.text()).Compare(ast.Number(b.text()))
}

// seed makes hashes differ between processes, so that nobody can choose keys
// that collide.
var seed = maphash.MakeSeed()

// hash is equal for equal values.
func hash(v Value) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037) ^ uint64(v.k)
	switch v.k {
	case boolKind:
		return (h ^ uint64(v.n)) * prime
	case numberKind:
		return maphash.Comparable(seed, numberHash(v))
	case stringKind:
		return maphash.String(seed, v.string())
	case arrayKind:
		for _, item := range v.collection().keys {
			h = (h ^ hash(item)) * prime
		}
	case setKind, objectKind:
		c := v.collection()
		c.sort(v.k)
		for i, key := range c.keys {
			h = (h ^ hash(key)) * prime
			if v.k == objectKind {
				h = (h ^ hash(c.vals[i])) * prime
			}
		}
	}
	return h
}

// numberHash goes by the nearest double, which numbers that are equal share.
func numberHash(v Value) float64 {
	if v.p == nil {
		return float64(v.n)
	}
	f, err := strconv.ParseFloat(v.text(), 64)
	if err != nil || f == 0 { // too large, or one of the zeros
		return 0
	}
	return f
}
