package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin"
)

// conforming makes calls and compares every answer with what the OpenAPI
// document says of the call: so each test of a call is a test of the document.
type conforming struct {
	t    testing.TB
	next http.RoundTripper
}

func (c *conforming) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	said := described()
	op, known := said.operation(r.Method, r.URL.Path)
	if !known { // a path or method that is not part of the API has no description to keep
		return resp, nil
	}
	call := fmt.Sprintf("%s %s: %d", r.Method, r.URL.Path, resp.StatusCode)
	answer, listed := op.Responses[strconv.Itoa(resp.StatusCode)]
	if !listed && resp.StatusCode < 300 {
		c.t.Errorf("%s is not described", call)
		return resp, nil
	}
	if !listed {
		answer = op.Responses["default"]
	}
	kind := resp.Header.Get("Content-Type")
	if kind == "" && len(answer.Content) == 0 {
		return resp, nil
	}
	kind, _, err = mime.ParseMediaType(kind)
	body, ok := answer.Content[kind]
	if err != nil || !ok {
		c.t.Errorf("%s has the media type %q, which is not described", call, kind)
		return resp, nil
	}
	if kind != "application/json" {
		return resp, nil
	}
	data, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(data))
	if err != nil {
		return resp, err
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		c.t.Errorf("%s: %v: %s", call, err, data)
		return resp, nil
	}
	if wrong := said.differs(body.Schema, value, "$"); wrong != "" {
		c.t.Errorf("%s is not as described: %s\n%s", call, wrong, data)
	}
	return resp, nil
}

// CloseIdleConnections closes those of the transport below.
func (c *conforming) CloseIdleConnections() {
	if closer, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// description is the part of the OpenAPI document that answers are compared with.
type description struct {
	Paths      map[string]map[string]describedOperation
	Components struct{ Schemas map[string]map[string]any }
	matching   map[string]*regexp.Regexp // by path
}

type describedOperation struct {
	Responses map[string]struct {
		Content map[string]struct{ Schema map[string]any }
	}
}

var described = sync.OnceValue(func() *description {
	data, err := admin.OpenAPI("dev")
	if err != nil {
		panic(err)
	}
	d := new(description)
	if err := json.Unmarshal(data, d); err != nil {
		panic(err)
	}
	anySegment := regexp.MustCompile(`\\\{[^/]*\\\}`)
	d.matching = map[string]*regexp.Regexp{}
	for path := range d.Paths {
		d.matching[path] = regexp.MustCompile("^" + anySegment.ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
	}
	return d
})

// operation finds what is said of a call; a path without parameters goes first.
func (d *description) operation(method, path string) (op describedOperation, known bool) {
	parameters := -1
	for pattern, methods := range d.Paths {
		n := strings.Count(pattern, "{")
		if parameters >= 0 && n >= parameters || !d.matching[pattern].MatchString(path) {
			continue
		}
		if found, ok := methods[strings.ToLower(method)]; ok {
			op, known, parameters = found, true, n
		}
	}
	return op, known
}

// differs says how a value differs from its schema, "" where it does not. A
// field that the schema does not name is a difference too.
func (d *description) differs(schema map[string]any, value any, at string) string {
	if ref, ok := schema["$ref"].(string); ok {
		schema = d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if schema == nil {
			return at + ": there is no " + ref
		}
	}
	if choices, ok := schema["anyOf"].([]any); ok {
		var all []string
		for _, choice := range choices {
			wrong := d.differs(choice.(map[string]any), value, at)
			if wrong == "" {
				return ""
			}
			all = append(all, wrong)
		}
		return strings.Join(all, ", and ")
	}
	kind := jsonKind(value)
	switch types := schema["type"].(type) {
	case string:
		if types != kind && (types != "integer" || kind != "number") {
			return fmt.Sprintf("%s is %s, not %s", at, kind, types)
		}
	case []any:
		if !slices.Contains(types, any(kind)) {
			return fmt.Sprintf("%s is %s, not one of %v", at, kind, types)
		}
	case nil:
		return "" // anything
	}
	switch value := value.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range value {
			if wrong := d.differs(items, item, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		more, open := schema["additionalProperties"].(map[string]any)
		for name, field := range value {
			s, ok := properties[name].(map[string]any)
			if !ok && open {
				s, ok = more, true
			}
			if !ok {
				return at + "." + name + " is not in the schema"
			}
			if wrong := d.differs(s, field, at+"."+name); wrong != "" {
				return wrong
			}
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := value[name.(string)]; !ok {
				return fmt.Sprintf("%s lacks %s", at, name)
			}
		}
	}
	return ""
}

func jsonKind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

// What the comparison must notice.
func TestConformanceNotices(t *testing.T) {
	d := described()
	schema := map[string]any{"$ref": "#/components/schemas/Simulation"}
	good := func() map[string]any {
		var v map[string]any
		err := json.Unmarshal([]byte(`{"dry_run":true,"would_activate":true,"policy_set_id":"s","version_id":"v","schema_version":"1","input_schema_version":"1",
			"manifest_sha256":"m","policies":[],"warnings":[{"code":"c","message":"m","location":null,"blocking":false}],
			"explanation":{"evaluation":"evaluated","policy_set_version_id":"v","manifest_sha256":"m","reason":"r"},"result":null}`), &v)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if wrong := d.differs(schema, good(), "$"); wrong != "" {
		t.Fatalf("a good answer differs: %s", wrong)
	}
	for name, change := range map[string]func(v map[string]any){
		"a field is missing": func(v map[string]any) { delete(v, "result") },
		"a field too many":   func(v map[string]any) { v["more"] = 1.0 },
		"a wrong type":       func(v map[string]any) { v["dry_run"] = "yes" },
		"null for a list":    func(v map[string]any) { v["policies"] = nil },
		"a wrong element":    func(v map[string]any) { v["warnings"] = []any{map[string]any{"code": "c"}} },
		"a wrong reference":  func(v map[string]any) { v["result"] = map[string]any{"decision": true} },
	} {
		v := good()
		change(v)
		if d.differs(schema, v, "$") == "" {
			t.Errorf("%s: not noticed", name)
		}
	}
}
