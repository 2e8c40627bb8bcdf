package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

func policyRoutes() []route {
	return []route{
		validateRoute(),
		asks("/v1/policies/test", "policy.test", "Run tests against a policy's content; nothing is kept", anyone, (*Server).testPolicy),
		reads("/v1/policy-templates", "policy.templates", "List templates to begin a policy with", anyone, nil, (*Server).listTemplates),
		reads("/v1/input-schema", "policy.input_schema", "Read the JSON Schema of the input document", anyone, nil, (*Server).inputSchema),
		reads("/v1/zones/{zone}/policies", "policy.list", "List a zone's policies, each with its newest version", anyone, paging, (*Server).listPolicies),
		writes(http.MethodPost, "/v1/zones/{zone}/policies", "policy.create", "Create a policy with its first version", authors, http.StatusCreated, (*Server).createPolicy),
		reads("/v1/zones/{zone}/policies/{policy}", "policy.get", "Read a policy with all its versions, newest first", anyone, nil, (*Server).getPolicy),
		writes(http.MethodDelete, "/v1/zones/{zone}/policies/{policy}", "policy.delete", "Archive a policy; set versions that have it keep working", authors, http.StatusNoContent, (*Server).deletePolicy),
		writes(http.MethodPost, "/v1/zones/{zone}/policies/{policy}/versions", "policy_version.create", "Add an immutable version to a policy", authors, http.StatusCreated, (*Server).createPolicyVersion),
		reads("/v1/zones/{zone}/policies/{policy}/versions/{version}", "policy_version.get", "Read a policy version with its content", anyone, nil, (*Server).getPolicyVersion),
	}
}

// validateRoute is a call of its own kind: its refusal says valid:false too.
func validateRoute() route {
	rt := asks("/v1/policies/validate", "policy.validate", "Validate a policy's content and preview what it does", anyone,
		func(_ *Server, ctx context.Context, _ *call, req *api.ValidateRequest) (*policy.Validation, error) {
			return policy.Validate(ctx, req.Content)
		})
	rt.others = []otherAnswer{{status: http.StatusUnprocessableEntity, body: new(api.ValidateFailure)}}
	answer := rt.handle
	rt.handle = func(s *Server, w http.ResponseWriter, c *call) error {
		err := answer(s, w, c)
		p := invalidRego(err)
		if p == nil {
			return err
		}
		return respond(w, p.status, api.ValidateFailure{Code: p.code, Description: p.reason, Errors: p.errors})
	}
	return rt
}

// invalidRego is the refusal of content that is not a good policy; nil where
// err is something else.
func invalidRego(err error) *problem {
	var invalid *policy.InvalidError
	if !errors.As(err, &invalid) {
		return nil
	}
	p := refuse(http.StatusUnprocessableEntity, "invalid_rego", "%s", describe(invalid.Errors))
	p.errors = invalid.Errors
	return p
}

// describe sums up content errors in a sentence.
func describe(list []policy.ContentError) string {
	if len(list) == 0 {
		return "the content is not a valid policy"
	}
	e := list[0]
	text := fmt.Sprintf("line %d, column %d: %s", e.Location.Row, e.Location.Col, e.Message)
	if e.File != "" {
		text = e.File + ", " + text
	}
	if e.Policy != "" {
		text = fmt.Sprintf("policy %q, %s", e.Policy, text)
	}
	if more := len(list) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func (s *Server) listTemplates(context.Context, *call) ([]policy.Template, error) {
	return policy.Templates(), nil
}

func (s *Server) inputSchema(context.Context, *call) (json.RawMessage, error) {
	return policy.InputSchema(), nil
}

func (s *Server) listPolicies(ctx context.Context, c *call) (api.Page[api.Policy], error) {
	var page api.Page[api.Policy]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		rows, err := tx.Policies(ctx, c.zone(), limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, policyBody, func(p store.Policy) store.Cursor { return store.Cursor{At: p.CreatedAt, ID: p.ID} })
		return err
	})
	return page, err
}

// checkContent validates a policy's content, written for a schema that may be
// named, and the tests that are kept beside it, if any, and gives the warnings as they are stored.
func checkContent(ctx context.Context, content, tests, schema string) ([]policy.Warning, json.RawMessage, error) {
	if schema != "" && schema != policy.SchemaVersion {
		return nil, nil, refuse(http.StatusUnprocessableEntity, "unsupported_schema_version", "schema_version %q is not known; the current one is %q", schema, policy.SchemaVersion)
	}
	v, err := policy.Validate(ctx, content)
	if err != nil {
		if p := invalidRego(err); p != nil {
			return nil, nil, p
		}
		return nil, nil, err
	}
	if tests != "" {
		if err := policy.CheckTests(policy.Document{Name: testsFile, Content: tests}); err != nil {
			return nil, nil, invalidRego(err)
		}
	}
	stored, err := json.Marshal(v.Warnings)
	return v.Warnings, stored, err
}

func (s *Server) createPolicy(ctx context.Context, c *call, req *api.PolicyCreate) (commit[api.Policy], error) {
	if err := checkName("/name", req.Name); err != nil {
		return nil, err
	}
	if err := checkDescription(req.Description); err != nil {
		return nil, err
	}
	_, warnings, err := checkContent(ctx, req.Content, req.Tests, req.SchemaVersion)
	if err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[api.Policy], error) {
		p := store.Policy{ID: newID(), ZoneID: c.zone(), Name: req.Name, Description: req.Description, CreatedAt: c.now, CreatedBy: c.actor.name}
		err := tx.InsertPolicy(ctx, p, newPolicyVersion(c, p.ID, req.Content, req.Tests, warnings))
		if errors.Is(err, store.ErrConflict) {
			return effect[api.Policy]{}, refuse(http.StatusConflict, "policy_name_conflict", "the zone has a policy of the name %q already", req.Name)
		}
		if err != nil { // the zone may have been archived meanwhile
			return effect[api.Policy]{}, missing(err, "zone", c.zone())
		}
		if p, err = tx.Policy(ctx, c.zone(), p.ID); err != nil {
			return effect[api.Policy]{}, err
		}
		body, err := policyBody(p)
		return effect[api.Policy]{body: body, subject: subject{entityType: "policy", entityID: p.ID, payload: map[string]string{
			"name": p.Name, "version_id": body.VersionID, "content_sha256": body.Version.ContentSHA256,
		}}}, err
	}, nil
}

func newPolicyVersion(c *call, policyID, content, tests string, warnings json.RawMessage) store.PolicyVersion {
	return store.PolicyVersion{
		ID: newID(), PolicyID: policyID, ZoneID: c.zone(), Content: content, ContentSHA256: bundle.SHA256Hex([]byte(content)), Tests: tests,
		SchemaVersion: policy.SchemaVersion, Warnings: warnings, CreatedAt: c.now, CreatedBy: c.actor.name,
	}
}

func (s *Server) getPolicy(ctx context.Context, c *call) (api.Policy, error) {
	var body api.Policy
	err := s.store.View(ctx, func(tx store.Reader) error {
		p, err := tx.Policy(ctx, c.zone(), c.path("policy"))
		if err != nil {
			return missing(err, "policy", c.path("policy"))
		}
		versions, err := tx.PolicyVersions(ctx, c.zone(), p.ID)
		if err != nil {
			return err
		}
		if body, err = policyBody(p); err != nil {
			return err
		}
		for _, v := range versions {
			one, err := policyVersionBody(v)
			if err != nil {
				return err
			}
			body.Versions = append(body.Versions, one)
		}
		return nil
	})
	return body, err
}

func (s *Server) deletePolicy(ctx context.Context, c *call, _ *nothing) (commit[nothing], error) {
	return func(tx store.Tx) (effect[nothing], error) {
		id := c.path("policy")
		if err := tx.ArchivePolicy(ctx, c.zone(), id, c.now); err != nil {
			return effect[nothing]{}, missing(err, "policy", id)
		}
		return effect[nothing]{subject: subject{entityType: "policy", entityID: id}}, nil
	}, nil
}

func (s *Server) createPolicyVersion(ctx context.Context, c *call, req *api.PolicyVersionCreate) (commit[api.PolicyVersion], error) {
	_, warnings, err := checkContent(ctx, req.Content, req.Tests, req.SchemaVersion)
	if err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[api.PolicyVersion], error) {
		v, err := tx.InsertPolicyVersion(ctx, newPolicyVersion(c, c.path("policy"), req.Content, req.Tests, warnings))
		if err != nil {
			return effect[api.PolicyVersion]{}, missing(err, "policy", c.path("policy"))
		}
		v.Content, v.Tests = "", "" // the caller has them
		body, err := policyVersionBody(v)
		return effect[api.PolicyVersion]{body: body, subject: subject{entityType: "policy_version", entityID: v.ID, payload: map[string]any{
			"policy_id": v.PolicyID, "version": v.Version, "content_sha256": v.ContentSHA256,
		}}}, err
	}, nil
}

func (s *Server) getPolicyVersion(ctx context.Context, c *call) (api.PolicyVersion, error) {
	var body api.PolicyVersion
	id := c.path("version")
	err := s.store.View(ctx, func(tx store.Reader) error {
		v, err := tx.PolicyVersion(ctx, c.zone(), id)
		if err == nil && v.PolicyID != c.path("policy") {
			err = store.ErrNotFound
		}
		if err != nil {
			return missing(err, "policy_version", id)
		}
		body, err = policyVersionBody(v)
		return err
	})
	return body, err
}

func policyBody(p store.Policy) (api.Policy, error) {
	version, err := policyVersionBody(p.Latest)
	return api.Policy{ID: p.ID, VersionID: version.ID, ZoneID: p.ZoneID, Name: p.Name, Description: p.Description, CreatedAt: p.CreatedAt, Version: version}, err
}

func policyVersionBody(v store.PolicyVersion) (api.PolicyVersion, error) {
	warnings, err := storedWarnings(v.Warnings)
	return api.PolicyVersion{
		ID: v.ID, VersionID: v.ID, PolicyID: v.PolicyID, ZoneID: v.ZoneID, Version: v.Version, ContentSHA256: v.ContentSHA256,
		SchemaVersion: v.SchemaVersion, CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, Content: v.Content, Tests: v.Tests, Warnings: warnings,
	}, err
}

func storedWarnings(raw json.RawMessage) ([]policy.Warning, error) {
	list := []policy.Warning{}
	if len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("reading stored warnings: %w", err)
		}
	}
	return list, nil
}

// checkDescription accepts up to 8,000 bytes.
func checkDescription(text string) error {
	if len(text) > 8000 || strings.ContainsRune(text, 0) {
		return invalidBody("/description", "must be at most 8000 bytes, without the character NUL")
	}
	return nil
}
