package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/policy"
)

// Zones lists the zones that the token reaches.
func (c *Client) Zones(ctx context.Context, at Page) (api.Page[api.Zone], error) {
	return get[api.Page[api.Zone]](ctx, c, "/v1/zones", at.query())
}

// Zone reads a zone.
func (c *Client) Zone(ctx context.Context, zone string) (api.Zone, error) {
	return get[api.Zone](ctx, c, path("v1", "zones", zone), nil)
}

// CreateZone creates a zone, which denies everything to begin with.
func (c *Client) CreateZone(ctx context.Context, req api.ZoneCreate) (api.Zone, error) {
	return send[api.Zone](ctx, c, http.MethodPost, "/v1/zones", nil, req)
}

// UpdateZone changes the fields that are set.
func (c *Client) UpdateZone(ctx context.Context, zone string, req api.ZoneUpdate) (api.Zone, error) {
	return send[api.Zone](ctx, c, http.MethodPatch, path("v1", "zones", zone), nil, req)
}

// DeleteZone archives a zone; its daemons deny everything from then on.
func (c *Client) DeleteZone(ctx context.Context, zone string) error {
	_, err := c.call(ctx, http.MethodDelete, path("v1", "zones", zone), nil, nil)
	return err
}

// Validate checks a policy's content. Content that is refused is an *Error that
// matches ErrInvalid and lists where.
func (c *Client) Validate(ctx context.Context, content string) (policy.Validation, error) {
	return send[policy.Validation](ctx, c, http.MethodPost, "/v1/policies/validate", nil, api.ValidateRequest{Content: content})
}

// TestPolicy runs tests against a policy's content. Nothing is kept. Content or tests
// that are refused are an *Error that matches ErrInvalid; its errors name the document,
// policy.rego, policy_test.rego or a module, and the place in it.
func (c *Client) TestPolicy(ctx context.Context, req api.TestRequest) (api.TestReport, error) {
	return send[api.TestReport](ctx, c, http.MethodPost, "/v1/policies/test", nil, req)
}

// Policies lists a zone's policies.
func (c *Client) Policies(ctx context.Context, zone string, at Page) (api.Page[api.Policy], error) {
	return get[api.Page[api.Policy]](ctx, c, path("v1", "zones", zone, "policies"), at.query())
}

// Policy reads a policy with its versions.
func (c *Client) Policy(ctx context.Context, zone, id string) (api.Policy, error) {
	return get[api.Policy](ctx, c, path("v1", "zones", zone, "policies", id), nil)
}

// CreatePolicy creates a policy with its first version.
func (c *Client) CreatePolicy(ctx context.Context, zone string, req api.PolicyCreate) (api.Policy, error) {
	return send[api.Policy](ctx, c, http.MethodPost, path("v1", "zones", zone, "policies"), nil, req)
}

// DeletePolicy archives a policy.
func (c *Client) DeletePolicy(ctx context.Context, zone, id string) error {
	_, err := c.call(ctx, http.MethodDelete, path("v1", "zones", zone, "policies", id), nil, nil)
	return err
}

// AddPolicyVersion adds a version to a policy.
func (c *Client) AddPolicyVersion(ctx context.Context, zone, id string, req api.PolicyVersionCreate) (api.PolicyVersion, error) {
	return send[api.PolicyVersion](ctx, c, http.MethodPost, path("v1", "zones", zone, "policies", id, "versions"), nil, req)
}

// PolicyVersion reads a version with its content.
func (c *Client) PolicyVersion(ctx context.Context, zone, id, version string) (api.PolicyVersion, error) {
	return get[api.PolicyVersion](ctx, c, path("v1", "zones", zone, "policies", id, "versions", version), nil)
}

// Templates lists policies to begin with.
func (c *Client) Templates(ctx context.Context) ([]policy.Template, error) {
	return get[[]policy.Template](ctx, c, "/v1/policy-templates", nil)
}

// InputSchema reads the JSON Schema of the input document.
func (c *Client) InputSchema(ctx context.Context) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/v1/input-schema", nil)
}
