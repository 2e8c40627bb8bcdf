package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// createSetVersion is the operation that makes a bundle.
const createSetVersion = "policy_set_version.create"

func (s *Server) listSetVersions(ctx context.Context, c *call) (api.Page[api.PolicySetVersion], error) {
	var page api.Page[api.PolicySetVersion]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		if _, err := tx.PolicySet(ctx, c.zone(), c.path("set")); err != nil {
			return missing(err, "policy_set", c.path("set"))
		}
		rows, err := tx.SetVersions(ctx, c.zone(), c.path("set"), limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, setVersionBody, func(v store.SetVersion) store.Cursor { return store.Cursor{At: v.CreatedAt, ID: v.ID} })
		return err
	})
	return page, err
}

// invalidContract refuses a manifest that cannot become a set version.
func invalidContract(format string, args ...any) *problem {
	return refuse(http.StatusUnprocessableEntity, "invalid_policy_contract", format, args...)
}

// invalidBundle refuses policies that do not work together, or a bundle that
// no daemon could load; nil where err is something else.
func invalidBundle(err error) *problem {
	for _, broken := range []error{bundle.ErrHash, bundle.ErrFormat, bundle.ErrSignature, bundle.ErrLimit} {
		if errors.Is(err, broken) {
			return refuse(http.StatusUnprocessableEntity, "invalid_policy_bundle", "the bundle cannot be loaded: %v", err)
		}
	}
	var invalid *policy.InvalidError
	var conflict *policy.ConflictError
	switch {
	case errors.As(err, &invalid):
		p := refuse(http.StatusUnprocessableEntity, "invalid_policy_bundle", "the policies do not compile together: %s", describe(invalid.Errors))
		p.errors = invalid.Errors
		return p
	case errors.As(err, &conflict):
		p := refuse(http.StatusUnprocessableEntity, "invalid_policy_bundle", "the policies contradict each other: %s", conflict.Message)
		for i, name := range conflict.Policies {
			e := policy.ContentError{Message: conflict.Message, Policy: name}
			if i < len(conflict.Locations) {
				e.Location = conflict.Locations[i]
			}
			p.errors = append(p.errors, e)
		}
		return p
	}
	return nil
}

// members reads the policy versions that a manifest names, in its order.
func members(ctx context.Context, tx store.Reader, zone string, manifest []api.ManifestEntry) ([]store.SetPolicy, error) {
	switch n := len(manifest); {
	case n == 0:
		return nil, invalidContract("the manifest lists no policy versions")
	case n > policy.MaxPolicies:
		return nil, invalidContract("the manifest lists %d policy versions; at most %d are allowed", n, policy.MaxPolicies)
	}
	list := make([]store.SetPolicy, 0, len(manifest))
	seen, byPolicy := map[string]bool{}, map[string]string{}
	for i, entry := range manifest {
		id := entry.PolicyVersionID
		switch {
		case !bundle.ValidID(id):
			return nil, invalidContract("manifest[%d].policy_version_id %.140q is no id", i, id)
		case seen[id]:
			return nil, invalidContract("manifest[%d] lists the policy version %s again", i, id)
		}
		seen[id] = true
		v, err := tx.PolicyVersion(ctx, zone, id)
		if errors.Is(err, store.ErrNotFound) { // a foreign zone's is as unknown as any
			return nil, invalidContract("manifest[%d]: the zone has no policy version %s", i, id)
		}
		if err != nil {
			return nil, err
		}
		if other, twice := byPolicy[v.PolicyID]; twice {
			return nil, invalidContract("manifest[%d]: %s and %s are versions of one policy", i, other, id)
		}
		byPolicy[v.PolicyID] = id
		p, err := tx.Policy(ctx, zone, v.PolicyID)
		if err != nil {
			return nil, err
		}
		list = append(list, store.SetPolicy{PolicyVersion: v, PolicyName: p.Name})
	}
	return list, nil
}

func (s *Server) createSetVersion(ctx context.Context, c *call, req *api.PolicySetVersionCreate) (commit[api.PolicySetVersion], error) {
	if req.SchemaVersion != "" && req.SchemaVersion != policy.SchemaVersion {
		return nil, refuse(http.StatusUnprocessableEntity, "unsupported_schema_version", "schema_version %q is not known; the current one is %q", req.SchemaVersion, policy.SchemaVersion)
	}
	set := c.path("set")
	var list []store.SetPolicy
	var number int
	err := s.store.View(ctx, func(tx store.Reader) error {
		if _, err := tx.PolicySet(ctx, c.zone(), set); err != nil {
			return missing(err, "policy_set", set)
		}
		newest, err := tx.SetVersions(ctx, c.zone(), set, 1, store.Cursor{})
		if err != nil {
			return err
		}
		if number = 1; len(newest) > 0 {
			number = newest[0].Version + 1
		}
		list, err = members(ctx, tx, c.zone(), req.Manifest)
		return err
	})
	if err != nil {
		return nil, err
	}
	compiled, err := policy.Compile(ctx, modules(list))
	if err != nil {
		if p := invalidBundle(err); p != nil {
			return nil, p
		}
		return nil, fmt.Errorf("compiling a set: %w", err)
	}
	warnings, err := json.Marshal(compiled.Warnings())
	if err != nil {
		return nil, fmt.Errorf("encoding warnings: %w", err)
	}
	made, err := pack(c.zone(), set, number, list)
	if err == nil { // it is within the limits of those who unpack it
		_, err = bundle.Unpack(made.Data, made.Statement, bundle.DefaultLimits())
	}
	if err != nil {
		if p := invalidBundle(err); p != nil {
			return nil, p
		}
		return nil, err
	}
	return func(tx store.Tx) (effect[api.PolicySetVersion], error) {
		next, err := tx.NextSetVersion(ctx, c.zone(), set)
		if err != nil {
			return effect[api.PolicySetVersion]{}, missing(err, "policy_set", set)
		}
		for i, p := range list { // none was archived meanwhile
			if _, err := tx.Policy(ctx, c.zone(), p.PolicyID); err != nil {
				if errors.Is(err, store.ErrNotFound) {
					err = invalidContract("manifest[%d]: the zone has no policy version %s", i, p.ID)
				}
				return effect[api.PolicySetVersion]{}, err
			}
		}
		if next != number { // another version came between; only its number matters
			if made, err = pack(c.zone(), set, next, list); err != nil {
				return effect[api.PolicySetVersion]{}, err
			}
		}
		keys, err := s.keys.in(ctx, tx)
		if err != nil {
			return effect[api.PolicySetVersion]{}, err
		}
		envelope, err := bundle.SignStatement(made.Statement, keys.Bundles)
		if err != nil {
			return effect[api.PolicySetVersion]{}, fmt.Errorf("signing a bundle: %w", err)
		}
		v := store.SetVersion{
			ID: newID(), PolicySetID: set, ZoneID: c.zone(), Version: next, Manifest: made.Manifest, ManifestSHA256: made.ManifestSHA256,
			BundleSHA256: made.BundleSHA256, BundleSize: int64(len(made.Data)), SchemaVersion: policy.SchemaVersion,
			Warnings: warnings, CreatedAt: c.now, CreatedBy: c.actor.name,
		}
		ids := make([]string, len(list))
		for i, p := range list {
			ids[i] = p.ID
		}
		if err := tx.InsertSetVersion(ctx, v, ids, store.Bundle{SHA256: made.BundleSHA256, Data: made.Data, Envelope: envelope}); err != nil {
			return effect[api.PolicySetVersion]{}, fmt.Errorf("storing a set version: %w", err)
		}
		body, err := setVersionBody(v)
		return effect[api.PolicySetVersion]{body: body, subject: subject{entityType: "policy_set_version", entityID: v.ID, payload: map[string]any{
			"policy_set_id": set, "version": v.Version, "manifest_sha256": v.ManifestSHA256, "bundle_sha256": v.BundleSHA256, "policy_version_ids": ids,
		}}}, err
	}, nil
}

// pack makes the bundle of a set version.
func pack(zone, set string, number int, list []store.SetPolicy) (*bundle.Packed, error) {
	m := bundle.Manifest{ZoneID: zone, PolicySetID: set, Version: number, EntryPoint: policy.EntryPoint, SchemaVersion: policy.SchemaVersion}
	var contents []bundle.Module
	for _, p := range list {
		m.Policies = append(m.Policies, bundle.ManifestPolicy{PolicyID: p.PolicyID, PolicyVersionID: p.ID, Name: p.PolicyName, ContentSHA256: p.ContentSHA256})
		contents = append(contents, bundle.Module{PolicyVersionID: p.ID, Content: []byte(p.Content)})
	}
	packed, err := bundle.Pack(&m, contents)
	if err != nil {
		return nil, fmt.Errorf("making a bundle: %w", err)
	}
	return packed, nil
}

func modules(list []store.SetPolicy) []policy.Module {
	out := make([]policy.Module, len(list))
	for i, p := range list {
		out[i] = policy.Module{PolicyID: p.PolicyID, VersionID: p.ID, Name: p.PolicyName, Content: p.Content}
	}
	return out
}

func (s *Server) getSetVersion(ctx context.Context, c *call) (api.PolicySetVersion, error) {
	var body api.PolicySetVersion
	err := s.store.View(ctx, func(tx store.Reader) error {
		v, list, err := setVersion(ctx, tx, c, c.path("version"))
		if err != nil {
			return err
		}
		if body, err = setVersionBody(v); err != nil {
			return err
		}
		body.ManifestJSON = json.RawMessage(v.Manifest)
		body.Policies = list
		return nil
	})
	return body, err
}

// setVersion reads a version of the set in the path, and its policies.
func setVersion(ctx context.Context, tx store.Reader, c *call, id string) (store.SetVersion, []api.SetPolicy, error) {
	v, err := tx.SetVersion(ctx, c.zone(), c.path("set"), id)
	if err != nil {
		return v, nil, missing(err, "policy_set_version", id)
	}
	rows, err := tx.SetVersionPolicies(ctx, v.ID)
	if err != nil {
		return v, nil, err
	}
	list := make([]api.SetPolicy, len(rows))
	for i, p := range rows {
		list[i] = api.SetPolicy{PolicyID: p.PolicyID, PolicyVersionID: p.ID, Name: p.PolicyName, Version: p.Version, ContentSHA256: p.ContentSHA256}
	}
	return v, list, nil
}

func setVersionBody(v store.SetVersion) (api.PolicySetVersion, error) {
	warnings, err := storedWarnings(v.Warnings)
	return api.PolicySetVersion{
		ID: v.ID, VersionID: v.ID, PolicySetID: v.PolicySetID, ZoneID: v.ZoneID, Version: v.Version, ManifestSHA256: v.ManifestSHA256,
		SchemaVersion: v.SchemaVersion, BundleSHA256: v.BundleSHA256, BundleSize: v.BundleSize, CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, Warnings: warnings,
	}, err
}
