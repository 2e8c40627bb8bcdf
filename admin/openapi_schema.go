package admin

import (
	"reflect"
	"strings"

	"github.com/swaggest/jsonschema-go"
)

// schemaRules make the schemas of the document say what the encoder does: a
// field without omitempty or omitzero is always there, a list is never null, a
// pointer may be. In what callers send, only fields tagged `required:"true"`
// must be there.
func schemaRules(table []route) []func(*jsonschema.ReflectContext) {
	sent := map[reflect.Type]bool{}
	for _, rt := range table {
		if rt.request != nil {
			collectTypes(reflect.TypeOf(rt.request), sent)
		}
	}
	return []func(*jsonschema.ReflectContext){
		func(rc *jsonschema.ReflectContext) { rc.EnvelopNullability = true },
		jsonschema.InterceptDefName(func(t reflect.Type, _ string) string { return definitionName(t) }),
		jsonschema.InterceptNullability(func(p jsonschema.InterceptNullabilityParams) {
			if kind := p.Type.Kind(); p.NullAdded && (kind == reflect.Slice || kind == reflect.Map) {
				p.Schema.RemoveType(jsonschema.Null)
			}
			if len(p.Schema.AnyOf) > 0 { // null or a reference; the type beside them would leave out null
				p.Schema.Type = nil
				for _, one := range p.Schema.AnyOf {
					if one.TypeObject.Ref != nil {
						one.TypeObject.Type = nil
					}
				}
			}
		}),
		jsonschema.InterceptSchema(func(p jsonschema.InterceptSchemaParams) (bool, error) {
			t := p.Value.Type()
			for t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			switch {
			case !p.Processed:
			case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
				p.Schema.RemoveType(jsonschema.Null)
			case t.Kind() == reflect.Struct && !sent[t] && len(p.Schema.Properties) > 0:
				p.Schema.Required = alwaysThere(t)
			}
			return false, nil
		}),
	}
}

// collectTypes adds the struct types that t is made of.
func collectTypes(t reflect.Type, into map[reflect.Type]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collectTypes(t.Elem(), into)
	case reflect.Struct:
		if into[t] {
			return
		}
		into[t] = true
		for i := range t.NumField() {
			collectTypes(t.Field(i).Type, into)
		}
	}
}

// alwaysThere lists the names that the JSON of a struct always has.
func alwaysThere(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, alwaysThere(f.Type)...)
		case name != "" && name != "-" && !strings.Contains(options, "omit"): // omitempty, omitzero
			names = append(names, name)
		}
	}
	return names
}

// definitionName is the bare name of a type; of a page, its items' name with it.
func definitionName(t reflect.Type) string {
	name := t.Name()
	if base, argument, generic := strings.Cut(name, "["); generic {
		argument = strings.TrimSuffix(argument, "]")
		if i := strings.LastIndexAny(argument, "./"); i >= 0 {
			argument = argument[i+1:]
		}
		name = argument + base
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
