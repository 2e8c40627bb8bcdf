package engine

import (
	"math/bits"
	"net/netip"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// plain is a built-in that the engine has itself for operands of the plain kind,
// such as small integers. It tells whether these are of it; all others are OPA's,
// with whatever is to be said of them. b is undefined where there is one operand.
type plain struct {
	args int
	f    func(m *machine, a, b Value) (v Value, ok bool)
}

var plains = map[string]plain{
	ast.Plus.Name: onIntegers(func(a, b int64) (int64, bool) {
		sum := a + b
		return sum, (sum > a) == (b > 0)
	}),
	ast.Minus.Name: onIntegers(func(a, b int64) (int64, bool) {
		difference := a - b
		return difference, (difference < a) == (b > 0)
	}),
	ast.Multiply.Name: onIntegers(func(a, b int64) (int64, bool) {
		if a < 0 || b < 0 {
			return 0, false
		}
		high, low := bits.Mul64(uint64(a), uint64(b))
		return int64(low), high == 0 && low < 1<<63
	}),
	// Larger quotients are of floating point in OPA.
	ast.Divide.Name: onIntegers(func(a, b int64) (int64, bool) {
		if b == 0 || a == 0 || a != int64(int32(a)) || b != int64(int32(b)) {
			return 0, false
		}
		return a / b, a%b == 0
	}),
	ast.Rem.Name: onIntegers(func(a, b int64) (int64, bool) {
		if b == 0 {
			return 0, false
		}
		return a % b, true
	}),
	ast.ToNumber.Name:        {1, toNumber},
	ast.NetCIDRContains.Name: {2, cidrContains},
	ast.Sprintf.Name:         {2, sprintf},
}

func onIntegers(f func(a, b int64) (int64, bool)) plain {
	return plain{2, func(_ *machine, a, b Value) (Value, bool) {
		if !a.isInt() || !b.isInt() {
			return Value{}, false
		}
		n, ok := f(a.n, b.n)
		return integer(n), ok
	}}
}

// toNumber is plain for all but strings that are not the one way to write a small
// integer.
func toNumber(_ *machine, v, _ Value) (Value, bool) {
	switch v.k {
	case nullKind:
		return integer(0), true
	case boolKind:
		return integer(v.n), true
	case numberKind:
		return v, true
	case stringKind:
		n, ok := smallInteger(v.string())
		return integer(n), ok
	}
	return Value{}, false
}

// smallInteger reads up to 18 digits, without zeros in front.
func smallInteger(text string) (n int64, ok bool) {
	digits, sign := text, int64(1)
	if len(text) > 1 && text[0] == '-' {
		digits, sign = text[1:], -1
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return sign * n, true
}

// cidrContains is plain where an address is looked for in a network. Networks of
// IPv4 in the form of IPv6, whose family depends on how long their prefix is, are not.
func cidrContains(_ *machine, network, address Value) (Value, bool) {
	if network.k != stringKind || address.k != stringKind {
		return Value{}, false
	}
	n, err := netip.ParsePrefix(network.string())
	if err != nil || n.Addr().Is4In6() {
		return Value{}, false
	}
	a, err := netip.ParseAddr(address.string())
	if err != nil || a.Zone() != "" {
		return Value{}, false
	}
	return boolean(n.Contains(a.Unmap())), true
}

// sprintf is plain for verbs without flags that fit their operands, which are
// strings, small integers, booleans or null, and as many as there are verbs.
func sprintf(m *machine, format, operands Value) (Value, bool) {
	if format.k != stringKind || operands.k != arrayKind {
		return Value{}, false
	}
	if !m.charge(format.n) {
		return Value{}, true
	}
	rest := operands.collection().keys
	text := m.text[:0]
	defer func() { m.text = text[:0] }()
	for f := format.string(); f != ""; {
		c := f[0]
		if f = f[1:]; c != '%' {
			text = append(text, c)
			continue
		}
		if f == "" {
			return Value{}, false
		}
		verb := f[0]
		if f = f[1:]; verb == '%' {
			text = append(text, '%')
			continue
		}
		if len(rest) == 0 {
			return Value{}, false
		}
		v := rest[0]
		rest = rest[1:]
		if v.k == stringKind && !m.charge(4*v.n) { // before there is room for it, quoted
			return Value{}, true
		}
		var ok bool
		if text, ok = formatted(text, verb, v); !ok {
			return Value{}, false
		}
	}
	return str(string(text)), len(rest) == 0
}

// formatted appends v as package fmt does for a verb, where that is plain.
func formatted(text []byte, verb byte, v Value) (_ []byte, ok bool) {
	switch {
	case v.k == stringKind && (verb == 's' || verb == 'v'):
		return append(text, v.string()...), true
	case v.k == stringKind && verb == 'q':
		return strconv.AppendQuote(text, v.string()), true
	case v.isInt() && (verb == 'd' || verb == 'v'):
		return strconv.AppendInt(text, v.n, 10), true
	case v.k == boolKind && (verb == 's' || verb == 'v'):
		return strconv.AppendBool(text, v.n != 0), true
	case v.k == nullKind && (verb == 's' || verb == 'v'):
		return append(text, "null"...), true
	}
	return text, false
}
