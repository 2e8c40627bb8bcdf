package engine

import (
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// native is a built-in that the engine has itself, by how many arguments it
// takes. Where an argument is of a wrong type it is undefined, as OPA's is where
// errors of built-ins are not asked for.
type native struct {
	one   func(m *machine, a Value) Value
	two   func(m *machine, a, b Value) Value
	three func(m *machine, a, b, c Value) Value
}

var natives = map[string]native{
	ast.Equal.Name:           {two: comparison(func(a, b Value) bool { return equal(a, b) })},
	ast.NotEqual.Name:        {two: comparison(func(a, b Value) bool { return !equal(a, b) })},
	ast.LessThan.Name:        {two: comparison(func(a, b Value) bool { return compare(a, b) < 0 })},
	ast.LessThanEq.Name:      {two: comparison(func(a, b Value) bool { return compare(a, b) <= 0 })},
	ast.GreaterThan.Name:     {two: comparison(func(a, b Value) bool { return compare(a, b) > 0 })},
	ast.GreaterThanEq.Name:   {two: comparison(func(a, b Value) bool { return compare(a, b) >= 0 })},
	ast.Member.Name:          {two: member},
	ast.MemberWithKey.Name:   {three: memberAt},
	ast.Count.Name:           {one: count},
	ast.StartsWith.Name:      {two: onStrings(strings.HasPrefix)},
	ast.EndsWith.Name:        {two: onStrings(strings.HasSuffix)},
	ast.Contains.Name:        {two: onStrings(strings.Contains)},
	ast.Lower.Name:           {one: rewritten(strings.ToLower)},
	ast.Upper.Name:           {one: rewritten(strings.ToUpper)},
	ast.TrimSpace.Name:       {one: rewritten(strings.TrimSpace)},
	ast.TrimPrefix.Name:      {two: cut(strings.TrimPrefix)},
	ast.TrimSuffix.Name:      {two: cut(strings.TrimSuffix)},
	ast.Trim.Name:            {two: cut(strings.Trim)},
	ast.TrimLeft.Name:        {two: cut(strings.TrimLeft)},
	ast.TrimRight.Name:       {two: cut(strings.TrimRight)},
	ast.Substring.Name:       {three: substring},
	ast.Max.Name:             {one: extreme(1)},
	ast.Min.Name:             {one: extreme(-1)},
	ast.Concat.Name:          {two: concat},
	ast.Split.Name:           {two: split},
	ast.ArrayConcat.Name:     {two: arrayConcat},
	ast.And.Name:             {two: setAnd},
	ast.Or.Name:              {two: setOr},
	ast.IsString.Name:        {one: isKind(stringKind)},
	ast.IsNumber.Name:        {one: isKind(numberKind)},
	ast.IsBoolean.Name:       {one: isKind(boolKind)},
	ast.IsArray.Name:         {one: isKind(arrayKind)},
	ast.IsSet.Name:           {one: isKind(setKind)},
	ast.IsObject.Name:        {one: isKind(objectKind)},
	ast.IsNull.Name:          {one: isKind(nullKind)},
	ast.TypeNameBuiltin.Name: {one: typeName},
	ast.ObjectGet.Name:       {three: objectGet},
	ast.ObjectKeys.Name:      {one: objectKeys},
}

// comparison counts the work of comparing collections.
func comparison(f func(a, b Value) bool) func(*machine, Value, Value) Value {
	return func(m *machine, a, b Value) Value {
		if !m.compares(a, b) {
			return Value{}
		}
		return boolean(f(a, b))
	}
}

func isKind(k kind) func(*machine, Value) Value {
	return func(_ *machine, v Value) Value { return boolean(v.k == k) }
}

func typeName(_ *machine, v Value) Value {
	return str(string(v.Kind()))
}

// member is x in xs.
func member(m *machine, x, xs Value) Value {
	if !xs.isCollection() {
		return falseValue
	}
	c := xs.collection()
	if xs.k == setKind {
		if !m.seeks(c, x) {
			return Value{}
		}
		return boolean(c.find(x) >= 0)
	}
	items := c.keys
	if xs.k == objectKind {
		items = c.vals
	}
	if !m.spend(len(items)) {
		return Value{}
	}
	for i := range items {
		if !m.compares(items[i], x) {
			return Value{}
		}
		if equal(items[i], x) {
			return trueValue
		}
	}
	return falseValue
}

// memberAt is k, v in xs.
func memberAt(m *machine, k, v, xs Value) Value {
	item := m.get(xs, k)
	if !m.compares(item, v) {
		return Value{}
	}
	return boolean(item.k != undefined && equal(item, v))
}

func count(m *machine, v Value) Value {
	switch {
	case v.k == stringKind:
		if !m.look(v.n) {
			return Value{}
		}
		return integer(int64(utf8.RuneCountInString(v.string())))
	case v.isCollection():
		return integer(int64(len(v.collection().keys)))
	}
	return Value{}
}

func onStrings(f func(a, b string) bool) func(*machine, Value, Value) Value {
	return func(m *machine, a, b Value) Value {
		if a.k != stringKind || b.k != stringKind || !m.look(a.n) {
			return Value{}
		}
		return boolean(f(a.string(), b.string()))
	}
}

// rewritten is for functions whose result is about as long as what they get.
func rewritten(f func(string) string) func(*machine, Value) Value {
	return func(m *machine, v Value) Value {
		if v.k != stringKind || !m.look(v.n) || !m.charge(v.n) {
			return Value{}
		}
		return str(f(v.string()))
	}
}

// cut is for functions whose result is a part of what they get.
func cut(f func(a, b string) string) func(*machine, Value, Value) Value {
	return func(m *machine, a, b Value) Value {
		if a.k != stringKind || b.k != stringKind || !m.look(a.n) {
			return Value{}
		}
		return str(f(a.string(), b.string()))
	}
}

// substring counts characters, not bytes; a negative length means all the rest.
func substring(m *machine, text, start, length Value) Value {
	at, ok := start.whole()
	n, also := length.whole()
	if text.k != stringKind || !ok || !also || at < 0 || !m.look(text.n) {
		return Value{}
	}
	s := text.string()
	from := byteOf(s, at)
	if n < 0 {
		return str(s[from:])
	}
	return str(s[from : from+byteOf(s[from:], n)])
}

// byteOf is where character n of s begins, or the end.
func byteOf(s string, n int64) int {
	if n >= int64(len(s)) {
		return len(s)
	}
	if utf8.RuneCountInString(s) == len(s) { // as most are
		return int(n)
	}
	for at := range s {
		if n == 0 {
			return at
		}
		n--
	}
	return len(s)
}

// extreme is max, or min for -1, of an array or a set that is not empty.
func extreme(sign int) func(*machine, Value) Value {
	return func(m *machine, v Value) Value {
		if v.k != arrayKind && v.k != setKind || len(v.collection().keys) == 0 || !m.through(parts(v)) {
			return Value{}
		}
		keys := v.collection().keys
		best := keys[0]
		for _, item := range keys[1:] {
			if compare(item, best)*sign >= 0 {
				best = item
			}
		}
		return best
	}
}

func concat(m *machine, separator, list Value) Value {
	if separator.k != stringKind || list.k != arrayKind && list.k != setKind {
		return Value{}
	}
	c := list.collection()
	if !m.through(parts(list)) {
		return Value{}
	}
	c.sort(list.k)
	size := separator.n * int64(max(0, len(c.keys)-1))
	for _, item := range c.keys {
		if item.k != stringKind {
			return Value{}
		}
		size += item.n
	}
	if !m.charge(size) {
		return Value{}
	}
	var b strings.Builder
	b.Grow(int(size))
	for i, item := range c.keys {
		if i > 0 {
			b.WriteString(separator.string())
		}
		b.WriteString(item.string())
	}
	return str(b.String())
}

func split(m *machine, text, separator Value) Value {
	if text.k != stringKind || separator.k != stringKind || !m.look(text.n) {
		return Value{}
	}
	if separator.n == 0 && !m.charge(text.n*valueBytes) {
		return Value{}
	}
	out := m.make(arrayKind, 0)
	for part := range strings.SplitSeq(text.string(), separator.string()) {
		if !m.add(out, str(part)) {
			return Value{}
		}
	}
	return out
}

func arrayConcat(m *machine, a, b Value) Value {
	if a.k != arrayKind || b.k != arrayKind {
		return Value{}
	}
	x, y := a.collection().keys, b.collection().keys
	n := len(x) + len(y)
	if !m.charge(int64(n) * valueBytes) {
		return Value{}
	}
	out := m.make(arrayKind, n)
	c := out.collection()
	c.keys = append(append(c.keys, x...), y...)
	if !m.grow(c, a.collection().size+b.collection().size, 0) {
		return Value{}
	}
	return out
}

func setAnd(m *machine, a, b Value) Value {
	if a.k != setKind || b.k != setKind {
		return Value{}
	}
	out := m.make(setKind, 0)
	if !m.spend(a.Len()) {
		return Value{}
	}
	for _, item := range a.collection().keys {
		if !m.seeks(b.collection(), item) {
			return Value{}
		}
		if b.collection().find(item) >= 0 && !m.add(out, item) {
			return Value{}
		}
	}
	return out
}

func setOr(m *machine, a, b Value) Value {
	if a.k != setKind || b.k != setKind {
		return Value{}
	}
	out := m.make(setKind, 0)
	for _, v := range [2]Value{a, b} {
		for _, item := range v.collection().keys {
			if !m.add(out, item) {
				return Value{}
			}
		}
	}
	return out
}

// objectGet is object.get: a key, or an array of keys for a path.
func objectGet(m *machine, object, key, fallback Value) Value {
	if object.k != objectKind {
		return Value{}
	}
	if key.k == arrayKind {
		v := object
		for _, step := range key.collection().keys {
			if v = m.get(v, step); v.k == undefined {
				return fallback
			}
		}
		return v
	}
	if v := m.get(object, key); v.k != undefined {
		return v
	}
	return fallback
}

func objectKeys(m *machine, object Value) Value {
	if object.k != objectKind {
		return Value{}
	}
	out := m.make(setKind, 0)
	for _, key := range object.collection().keys {
		if !m.add(out, key) {
			return Value{}
		}
	}
	return out
}
