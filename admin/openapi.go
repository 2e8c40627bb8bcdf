package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"github.com/caracalai/caracald/admin/api"
)

// bearerScheme names the security scheme of all calls that are not public.
const bearerScheme = "bearer"

var pathParameter = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

// OpenAPI makes the document that describes the API, from the very table that
// serves it.
func OpenAPI(version string) ([]byte, error) {
	r := openapi31.NewReflector()
	r.DefaultOptions = append(r.DefaultOptions, schemaRules(routes())...)
	r.Spec.Info.WithTitle("caracal admin API").WithVersion(cmp.Or(version, "dev")).
		WithDescription("The control plane: zones, policies, policy sets, activation, audit, tokens, and what daemons ask. Every error outside 2xx has the shape of Error.")
	r.Spec.SetHTTPBearerTokenSecurity(bearerScheme, "", "A token of the control plane: caracal token create")
	for _, rt := range routes() {
		if err := describeRoute(r, rt); err != nil {
			return nil, fmt.Errorf("describing %s: %w", rt.id, err)
		}
	}
	data, err := json.MarshalIndent(r.Spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	return append(data, '\n'), nil
}

func describeRoute(r *openapi31.Reflector, rt route) error {
	oc, err := r.NewOperationContext(rt.method, rt.path)
	if err != nil {
		return err
	}
	noun, _, _ := strings.Cut(rt.id, ".")
	oc.SetID(rt.id)
	oc.SetTags(noun)
	oc.SetSummary(rt.summary)
	if !rt.public {
		oc.AddSecurity(bearerScheme)
		if rt.roles != nil {
			oc.SetDescription("Takes " + needed(rt.roles) + ".")
		}
	}
	var parameters []openapi31.ParameterOrReference
	for _, match := range pathParameter.FindAllStringSubmatch(rt.path, -1) {
		parameters = append(parameters, parameterOf(match[1], openapi31.ParameterInPath, "", map[string]any{"type": "string"}, true))
	}
	for _, q := range rt.query {
		schema := map[string]any{"type": "string"}
		if q.integer {
			schema["type"] = "integer"
		}
		if q.repeated {
			schema = map[string]any{"type": "array", "items": schema}
		}
		if q.enum != nil {
			schema["enum"] = q.enum
		}
		parameters = append(parameters, parameterOf(q.name, openapi31.ParameterInQuery, q.description, schema, false))
	}
	if rt.idempotent {
		parameters = append(parameters, parameterOf("Idempotency-Key", openapi31.ParameterInHeader,
			"1 to 255 printable characters; the same call with the same key is done once", map[string]any{"type": "string"}, false))
	}
	if exposed, ok := oc.(openapi31.OperationExposer); ok {
		exposed.Operation().Parameters = parameters
	}
	switch {
	case rt.request != nil:
		oc.AddReqStructure(rt.request, openapi.WithContentType("application/json"), openapi.WithCustomize(requiredBody))
	case rt.binary != "":
		oc.AddReqStructure("", openapi.WithContentType(rt.binary), openapi.WithCustomize(requiredBody))
	}
	describeAnswer(oc, otherAnswer{status: rt.status, contentType: rt.contentType, body: rt.response})
	for _, other := range rt.others {
		describeAnswer(oc, other)
	}
	oc.AddRespStructure(new(api.Error), func(cu *openapi.ContentUnit) {
		cu.IsDefault = true
		cu.Description = "The refusal, or what went wrong."
	})
	return r.AddOperation(oc)
}

// describeAnswer adds an answer to an operation.
func describeAnswer(oc openapi.OperationContext, a otherAnswer) {
	if _, ok := a.body.(*json.RawMessage); ok { // a document of its own: some object
		a.body = new(map[string]any)
	}
	switch {
	case a.body != nil:
		oc.AddRespStructure(a.body, openapi.WithHTTPStatus(a.status), openapi.WithContentType("application/json"))
	case a.contentType != "":
		oc.AddRespStructure("", openapi.WithHTTPStatus(a.status), openapi.WithContentType(a.contentType))
	default:
		oc.AddRespStructure(nil, openapi.WithHTTPStatus(a.status))
	}
}

// requiredBody says that an operation cannot be called without a body.
func requiredBody(content openapi.ContentOrReference) {
	if body, ok := content.(*openapi31.RequestBodyOrReference); ok {
		body.RequestBodyEns().WithRequired(true)
	}
}

func parameterOf(name string, in openapi31.ParameterIn, description string, schema map[string]any, required bool) openapi31.ParameterOrReference {
	p := openapi31.Parameter{Name: name, In: in, Schema: schema}
	if required {
		p.WithRequired(true)
	}
	if description != "" {
		p.WithDescription(description)
	}
	return openapi31.ParameterOrReference{Parameter: &p}
}
