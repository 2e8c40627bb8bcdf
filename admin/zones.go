package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
)

func zoneRoutes() []route {
	return []route{
		reads("/v1/zones", "zone.list", "List the zones the token reaches", anyone, paging, (*Server).listZones),
		writes(http.MethodPost, "/v1/zones", "zone.create", "Create a zone; it denies everything until a version is activated", admins, http.StatusCreated, (*Server).createZone),
		reads("/v1/zones/{zone}", "zone.get", "Read a zone", anyone, nil, (*Server).getZone),
		writes(http.MethodPatch, "/v1/zones/{zone}", "zone.update", "Change a zone's name, slug or settings", admins, http.StatusOK, (*Server).updateZone),
		writes(http.MethodDelete, "/v1/zones/{zone}", "zone.delete", "Archive a zone; its daemons deny everything from then on", admins, http.StatusNoContent, (*Server).deleteZone),
	}
}

func (s *Server) listZones(ctx context.Context, c *call) (api.Page[api.Zone], error) {
	var page api.Page[api.Zone]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	if c.actor.zone != "" { // a token for one zone sees that one
		page.Items = []api.Zone{}
		z, err := s.zone(ctx, c.actor.zone)
		var gone *problem
		switch {
		case errors.As(err, &gone): // archived
		case err != nil:
			return page, err
		case after == store.Cursor{}:
			page.Items = append(page.Items, z)
		}
		return page, nil
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		rows, err := tx.Zones(ctx, limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, zoneBody, func(z store.Zone) store.Cursor { return store.Cursor{At: z.CreatedAt, ID: z.ID} })
		return err
	})
	return page, err
}

func (s *Server) getZone(ctx context.Context, c *call) (api.Zone, error) {
	return s.zone(ctx, c.zone())
}

func (s *Server) zone(ctx context.Context, id string) (api.Zone, error) {
	var body api.Zone
	err := s.store.View(ctx, func(tx store.Reader) error {
		z, err := tx.Zone(ctx, id)
		if err != nil {
			return missing(err, "zone", id)
		}
		body, err = zoneBody(z)
		return err
	})
	return body, err
}

func (s *Server) createZone(ctx context.Context, c *call, req *api.ZoneCreate) (commit[api.Zone], error) {
	if err := everywhere(c); err != nil {
		return nil, err
	}
	if err := checkName("/name", req.Name); err != nil {
		return nil, err
	}
	slug := req.Slug
	if slug == "" {
		slug = slugOf(req.Name)
	}
	if err := checkSlug(slug); err != nil {
		return nil, err
	}
	settings, err := settingsOf(req.Settings)
	if err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[api.Zone], error) {
		z := store.Zone{ID: newID(), Name: req.Name, Slug: slug, Settings: settings, CreatedAt: c.now, UpdatedAt: c.now}
		if err := tx.InsertZone(ctx, z); err != nil {
			return effect[api.Zone]{}, zoneConflict(err, req.Name, slug)
		}
		if _, err := s.movePointer(ctx, tx, c, nil, move{zone: z, reason: "zone created"}); err != nil {
			return effect[api.Zone]{}, err
		}
		body, err := zoneBody(z)
		return effect[api.Zone]{body: body, subject: subject{entityType: "zone", entityID: z.ID, zone: z.ID, payload: req}}, err
	}, nil
}

func (s *Server) updateZone(ctx context.Context, c *call, req *api.ZoneUpdate) (commit[api.Zone], error) {
	if req.Name != nil {
		if err := checkName("/name", *req.Name); err != nil {
			return nil, err
		}
	}
	if req.Slug != nil {
		if err := checkSlug(*req.Slug); err != nil {
			return nil, err
		}
	}
	var settings json.RawMessage
	if req.Settings != nil {
		var err error
		if settings, err = settingsOf(req.Settings); err != nil {
			return nil, err
		}
	}
	return func(tx store.Tx) (effect[api.Zone], error) {
		z, err := tx.Zone(ctx, c.zone())
		if err != nil {
			return effect[api.Zone]{}, missing(err, "zone", c.zone())
		}
		if req.Name != nil {
			z.Name = *req.Name
		}
		if req.Slug != nil {
			z.Slug = *req.Slug
		}
		resign := settings != nil && !bytes.Equal(settings, z.Settings)
		if settings != nil {
			z.Settings = settings
		}
		z.UpdatedAt = c.now
		if err := tx.UpdateZone(ctx, z); err != nil {
			return effect[api.Zone]{}, zoneConflict(err, z.Name, z.Slug)
		}
		if resign { // settings reach the daemons inside the signed pointer
			p, err := tx.Pointer(ctx, z.ID)
			if err != nil {
				return effect[api.Zone]{}, err
			}
			if err := s.resignPointer(ctx, tx, z, p, c.now); err != nil {
				return effect[api.Zone]{}, err
			}
		}
		body, err := zoneBody(z)
		return effect[api.Zone]{body: body, subject: subject{entityType: "zone", entityID: z.ID, payload: req}}, err
	}, nil
}

func (s *Server) deleteZone(ctx context.Context, c *call, _ *nothing) (commit[nothing], error) {
	return func(tx store.Tx) (effect[nothing], error) {
		z, err := tx.Zone(ctx, c.zone())
		if err != nil {
			return effect[nothing]{}, missing(err, "zone", c.zone())
		}
		p, err := tx.Pointer(ctx, z.ID)
		if err != nil {
			return effect[nothing]{}, err
		}
		if p.VersionID != nil {
			if _, err := s.movePointer(ctx, tx, c, &p, move{zone: z, reason: "zone deleted"}); err != nil {
				return effect[nothing]{}, err
			}
		}
		if err := tx.ArchiveZone(ctx, z.ID, c.now); err != nil {
			return effect[nothing]{}, missing(err, "zone", z.ID)
		}
		return effect[nothing]{subject: subject{entityType: "zone", entityID: z.ID}}, nil
	}, nil
}

func zoneBody(z store.Zone) (api.Zone, error) {
	settings, err := zoneSettings(z)
	return api.Zone{ID: z.ID, Name: z.Name, Slug: z.Slug, Settings: settings, CreatedAt: z.CreatedAt, UpdatedAt: z.UpdatedAt}, err
}

func zoneConflict(err error, name, slug string) error {
	if errors.Is(err, store.ErrConflict) {
		return refuse(http.StatusConflict, "zone_conflict", "there is a zone of the name %q or the slug %q already", name, slug)
	}
	return err
}

// settingsOf checks a zone's settings and gives their stored form.
func settingsOf(settings *api.ZoneSettings) (json.RawMessage, error) {
	if settings == nil {
		settings = &api.ZoneSettings{}
	}
	if err := checkMask(settings.AuditMask); err != nil {
		return nil, err
	}
	switch settings.AuditInputs {
	case "", inputsKept, inputsHashed:
	default:
		return nil, invalidBody("/settings/audit_inputs", "must be %q or %q", inputsKept, inputsHashed)
	}
	if settings.RetentionDays < 0 || settings.RetentionDays > maxRetentionDays {
		return nil, invalidBody("/settings/retention_days", "must be from 0 to %d", maxRetentionDays)
	}
	if settings.RetentionBytes < 0 {
		return nil, invalidBody("/settings/retention_bytes", "must not be negative")
	}
	if share := settings.LoadedShare; share != nil && !(*share > 0 && *share <= 1) {
		return nil, invalidBody("/settings/loaded_share", "must be above 0 and at most 1, or null")
	}
	return json.Marshal(settings)
}

// Limits of a zone's settings. The mask travels inside each signed pointer,
// which must stay within what daemons read.
const (
	maxMaskPointers  = 256
	maxMaskBytes     = 32 << 10 // as JSON, of the 64 KiB of an envelope in base64
	maxRetentionDays = 36500    // beyond which dates are not exact any more
)

// checkMask accepts the pointers that a daemon can mask by.
func checkMask(pointers []string) error {
	const field = "/settings/audit_mask"
	if len(pointers) > maxMaskPointers {
		return invalidBody(field, "has %d JSON pointers; at most %d are accepted", len(pointers), maxMaskPointers)
	}
	for i, p := range pointers {
		_, _, err := audit.Mask([]byte("{}"), []string{p}, []byte{0})
		if p == "" || err != nil {
			return invalidBody(field, "has at %d %.80q, which is no JSON pointer to a part of the input", i, p)
		}
	}
	text, err := json.Marshal(pointers)
	if err == nil && len(text) > maxMaskBytes {
		return invalidBody(field, "has %d bytes; at most %d are accepted", len(text), maxMaskBytes)
	}
	return err
}

// checkName accepts what people call things: 1 to 200 printable characters
// without white space at the ends.
func checkName(field, name string) error {
	if name == "" || utf8.RuneCountInString(name) > 200 || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) {
		return invalidBody(field, "must be 1 to 200 characters, none of them a control character, without white space at the ends")
	}
	return nil
}

func checkSlug(slug string) error {
	if slug == "" || len(slug) > 63 || slug != slugOf(slug) {
		return invalidBody("/slug", "must be 1 to 63 of a-z, 0-9 and single hyphens between them")
	}
	return nil
}

// slugOf makes a slug from a name: lower-case letters and digits, with a
// hyphen for each run of anything else.
func slugOf(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == 63 {
			break
		}
	}
	if slug := strings.Trim(b.String(), "-"); slug != "" {
		return slug
	}
	return "zone-" + newID()[24:] // a name without a letter of ASCII
}
