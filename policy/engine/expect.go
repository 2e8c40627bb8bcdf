package engine

import "slices"

// Field says what a document has to have at one place.
type Field struct {
	Name     string
	Required bool
	// Kinds are those that the value may have, all where there are none.
	Kinds []Kind
	// Strings says that the members of an array are strings.
	Strings bool
	// Text judges a string; nil accepts any.
	Text func(string) bool
	// Fields are those of an object; it may have others.
	Fields []*Field
}

// allows tells whether f allows a value of a kind.
func (f *Field) allows(k kind) bool {
	return len(f.Kinds) == 0 || slices.Contains(f.Kinds, kinds[k])
}

// Fits reports whether v is what f says.
func (f *Field) Fits(v Value) bool {
	return f.allows(v.k) && f.holds(v)
}

// holds is Fits for a value of a kind that f allows.
func (f *Field) holds(v Value) bool {
	switch v.k {
	case stringKind:
		return f.Text == nil || f.Text(v.string())
	case arrayKind:
		return !f.Strings || allStrings(v)
	case objectKind:
		for _, c := range f.Fields {
			value := get(v, str(c.Name))
			if value.Defined() && !c.Fits(value) || !value.Defined() && c.Required {
				return false
			}
		}
	}
	return true
}

func allStrings(v Value) bool {
	for _, item := range v.collection().keys {
		if item.k != stringKind {
			return false
		}
	}
	return true
}
