package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"github.com/caracalai/caracald/admin/api"
)

// bearerScheme names the security scheme of all calls that are not public.
const bearerScheme = "bearer"

var pathParameter = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

// OpenAPI makes the document that describes the API, from the very table that
// serves it.
func OpenAPI(version string) ([]byte, error) {
	r := openapi31.NewReflector()
	r.DefaultOptions = append(r.DefaultOptions, jsonschema.InterceptDefName(func(t reflect.Type, _ string) string { return definitionName(t) }))
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
		if q.enum != nil {
			schema["enum"] = q.enum
		}
		parameters = append(parameters, parameterOf(q.name, openapi31.ParameterInQuery, q.description, schema, false))
	}
	if rt.method == http.MethodPost {
		parameters = append(parameters, parameterOf("Idempotency-Key", openapi31.ParameterInHeader,
			"1 to 255 printable characters; the same call with the same key is done once", map[string]any{"type": "string"}, false))
	}
	if exposed, ok := oc.(openapi31.OperationExposer); ok {
		exposed.Operation().Parameters = parameters
	}
	if rt.request != nil {
		oc.AddReqStructure(rt.request, openapi.WithContentType("application/json"))
	}
	switch {
	case rt.contentType != "" && rt.response != nil:
		oc.AddRespStructure(rt.response, openapi.WithHTTPStatus(rt.status), openapi.WithContentType("application/json"))
		oc.AddRespStructure("", openapi.WithHTTPStatus(rt.status), openapi.WithContentType(rt.contentType))
	case rt.contentType != "":
		oc.AddRespStructure("", openapi.WithHTTPStatus(rt.status), openapi.WithContentType(rt.contentType))
	default:
		oc.AddRespStructure(rt.response, openapi.WithHTTPStatus(rt.status))
	}
	oc.AddRespStructure(new(api.Error), func(cu *openapi.ContentUnit) {
		cu.IsDefault = true
		cu.Description = "The refusal, or what went wrong."
	})
	return r.AddOperation(oc)
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

// definitionName is the bare name of a type; of a page, its items' name with it.
func definitionName(t reflect.Type) string {
	name := t.Name()
	base, argument, generic := strings.Cut(name, "[")
	if !generic {
		return name
	}
	argument = strings.TrimSuffix(argument, "]")
	if i := strings.LastIndexAny(argument, "./"); i >= 0 {
		argument = argument[i+1:]
	}
	return argument + base
}

// documentation registers the document and the page that shows it.
func (s *Server) documentation(mux *http.ServeMux) error {
	document, err := OpenAPI(s.cfg.Version)
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, document)
	})
	page := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "caracal admin API", SwaggerJSON: "/openapi.json", BasePath: "/docs/", HideCurl: false, ShowTopBar: false,
	})
	mux.Handle("GET /docs/", page)
	mux.Handle("GET /docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently))
	mux.Handle("GET /{$}", http.RedirectHandler("/docs/", http.StatusFound))
	return nil
}
