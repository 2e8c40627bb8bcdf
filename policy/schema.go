package policy

import (
	"encoding/json"
	"regexp"
	"slices"
	"sync"
)

// kind is the JSON type that a field of the input has.
type kind int

const (
	kindAny kind = iota
	kindString
	kindBoolean
	kindScalar // a string, a number or a boolean
	kindStrings
	kindArray
	kindObject
)

// field is one named value of the input document. The table below is the one
// description of the input: ParseInput checks against it, InputSchema prints
// it, and the unknown_input_field warning looks paths up in it.
type field struct {
	name     string
	kind     kind
	required bool
	// nullable says that null stands for "absent". Optional fields are nullable.
	nullable bool
	enum     []string
	// pattern is what a string has to match, and matches the same, faster.
	pattern *regexp.Regexp
	matches func(string) bool
	// open objects have names that the schema does not know in advance.
	open        bool
	fields      []*field
	description string
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// isID reports whether a string matches idPattern.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20)-'a' > 'z'-'a' && c-'0' > 9 && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func required(name string, k kind, description string) *field {
	return &field{name: name, kind: k, required: true, description: description}
}

func optional(name string, k kind, description string) *field {
	return &field{name: name, kind: k, nullable: true, description: description}
}

func (f *field) of(fields ...*field) *field {
	f.kind, f.fields = kindObject, fields
	return f
}

func (f *field) oneOf(values ...string) *field {
	f.enum = values
	return f
}

func (f *field) matching(p *regexp.Regexp, matches func(string) bool) *field {
	f.pattern, f.matches = p, matches
	return f
}

func (f *field) opened() *field {
	f.open = true
	return f
}

// inputSchema describes input documents of InputSchemaVersion.
var inputSchema = required("", kindObject, "What one decision is about.").of(
	required("schema_version", kindString, "The version of this schema.").oneOf(InputSchemaVersion),
	required("principal", kindObject, "Who acts.").of(
		required("type", kindString, "What sort of principal acts, such as user, application or agent."),
		required("id", kindString, "The principal's id."),
		required("zone_id", kindString, "The zone whose active policy set decides.").matching(idPattern, isID),
		optional("registration_method", kindString, "How the principal came to be registered."),
		optional("agent_session_id", kindString, "The session of the agent that acts."),
		optional("lifecycle", kindString, "Whether the agent lives for one task or as a service.").oneOf("task", "service"),
		optional("labels", kindStrings, "Labels attached to the principal."),
	),
	required("resource", kindObject, "What is acted on.").of(
		required("type", kindString, "What sort of resource it is."),
		required("id", kindString, "The resource's id."),
		required("identifier", kindString, "The resource's own name, such as a URI."),
		required("scopes", kindStrings, "The scopes that the resource offers."),
	),
	required("action", kindObject, "What is done.").of(
		required("id", kindString, "The action's id."),
		optional("method", kindString, "The method of the protocol, such as GET."),
		optional("path", kindString, "The path of the request."),
	),
	optional("session", kindObject, "The session that the request belongs to.").of(
		required("id", kindString, "The session's id."),
	),
	optional("delegation_edge", kindObject, "The delegation that the principal acts under.").of(
		required("id", kindString, "The edge's id."),
		optional("source_session_id", kindString, "The session that delegates."),
		optional("target_session_id", kindString, "The session delegated to."),
		optional("issuer_application_id", kindString, "The application that delegates."),
		optional("receiver_application_id", kindString, "The application delegated to."),
		optional("resource_id", kindString, "The resource that the delegation is confined to."),
		optional("scopes", kindStrings, "The scopes that the delegation is confined to."),
		optional("edge_version", kindScalar, "The version of the edge."),
		optional("path", kindArray, "The edges from the root of the delegation to this one."),
		optional("graph_epoch", kindScalar, "The epoch of the delegation graph."),
		optional("constraints_json", kindAny, "Constraints of the delegation."),
	),
	required("context", kindObject, "The circumstances.").of(
		required("actor_claims", kindObject, "Claims of the actor's token.").opened(),
		required("challenge_resolved", kindBoolean, "Whether a step-up challenge was passed."),
		required("requested_scopes", kindStrings, "The scopes asked for."),
		optional("subject_claims", kindObject, "Claims of the subject's token.").opened(),
		optional("trace_id", kindString, "The trace that the request belongs to."),
		optional("session_id", kindString, "The session's id."),
		optional("agent_session_id", kindString, "The agent session's id."),
		optional("delegation_edge_id", kindString, "The delegation edge's id."),
	),
)

// child returns the field called name, or nil.
func (f *field) child(name string) *field {
	i := slices.IndexFunc(f.fields, func(c *field) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return f.fields[i]
}

// knows reports whether the schema has, or leaves room for, a value at path
// below f.
func (f *field) knows(path []string) bool {
	for _, name := range path {
		switch {
		case f.open || f.kind == kindAny || f.kind == kindArray:
			return true
		case f.kind != kindObject:
			return false
		}
		if f = f.child(name); f == nil {
			return false
		}
	}
	return true
}

// jsonSchema prints f as JSON Schema, draft 2020-12.
func (f *field) jsonSchema() map[string]any {
	s := map[string]any{}
	types := []string{}
	switch f.kind {
	case kindString:
		types = append(types, "string")
	case kindBoolean:
		types = append(types, "boolean")
	case kindScalar:
		types = append(types, "string", "number", "boolean")
	case kindStrings:
		types = append(types, "array")
		s["items"] = map[string]any{"type": "string"}
	case kindArray:
		types = append(types, "array")
	case kindObject:
		types = append(types, "object")
		s["additionalProperties"] = true
	}
	if len(types) > 0 && f.nullable {
		types = append(types, "null")
	}
	switch len(types) {
	case 0:
	case 1:
		s["type"] = types[0]
	default:
		s["type"] = types
	}
	if f.enum != nil {
		values := make([]any, 0, len(f.enum)+1)
		for _, v := range f.enum {
			values = append(values, v)
		}
		if f.nullable {
			values = append(values, nil)
		}
		s["enum"] = values
	}
	if f.pattern != nil {
		s["pattern"] = f.pattern.String()
	}
	if f.description != "" {
		s["description"] = f.description
	}
	if len(f.fields) > 0 {
		properties := map[string]any{}
		var names []string
		for _, c := range f.fields {
			properties[c.name] = c.jsonSchema()
			if c.required {
				names = append(names, c.name)
			}
		}
		s["properties"] = properties
		if names != nil {
			s["required"] = names
		}
	}
	return s
}

var inputSchemaJSON = sync.OnceValue(func() json.RawMessage {
	s := inputSchema.jsonSchema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = "urn:caracal:authz:input:" + InputSchemaVersion
	s["title"] = "Caracal decision input " + InputSchemaVersion
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // maps of strings always encode
		return json.RawMessage("{}")
	}
	return raw
})

// InputSchema is the JSON Schema (draft 2020-12) of the input document. It
// says what ParseInput checks, apart from the limits on size and depth.
func InputSchema() json.RawMessage {
	return slices.Clone(inputSchemaJSON())
}
