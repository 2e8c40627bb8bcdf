package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

func newZoneCommand(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List zones", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			zones, err := collect(client.All(ctx, c.Zones))
			if err != nil {
				return err
			}
			return a.show(zones, func() error {
				var rows [][]string
				for _, z := range zones {
					rows = append(rows, []string{z.ID, z.Name, z.Slug, when(z.CreatedAt)})
				}
				return a.table([]string{"ID", "NAME", "SLUG", "CREATED"}, rows)
			})
		}),
	}
	get := &cobra.Command{
		Use: "get [ID]", Short: "Show a zone", Args: args(0, 1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, list []string) error {
			id, err := a.named(list)
			if err != nil {
				return err
			}
			z, err := c.Zone(ctx, id)
			if err != nil {
				return err
			}
			return a.showZone(z)
		}),
	}
	var settings zoneFlags
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a zone; it denies everything until a version is activated", Args: args(1, 1),
		Example: "  caracal zone create payments --audit-mask /context/subject_claims/email",
	}
	slug := create.Flags().String("slug", "", "short name for addresses; made from the name by default")
	settings.bind(create)
	create.RunE = a.withClient(func(ctx context.Context, c *client.Client, list []string) error {
		z, err := c.CreateZone(ctx, api.ZoneCreate{Name: list[0], Slug: *slug, Settings: settings.apply(create, api.ZoneSettings{})})
		if err != nil {
			return err
		}
		return a.showZone(z)
	})
	var changes zoneFlags
	update := &cobra.Command{Use: "update [ID]", Short: "Change a zone's name, slug or settings", Args: args(0, 1)}
	name := update.Flags().String("name", "", "new name")
	newSlug := update.Flags().String("slug", "", "new slug")
	changes.bind(update)
	update.RunE = a.withClient(func(ctx context.Context, c *client.Client, list []string) error {
		id, err := a.named(list)
		if err != nil {
			return err
		}
		var req api.ZoneUpdate
		if *name != "" {
			req.Name = name
		}
		if *newSlug != "" {
			req.Slug = newSlug
		}
		if changes.changed(update) {
			z, err := c.Zone(ctx, id)
			if err != nil {
				return err
			}
			req.Settings = changes.apply(update, z.Settings)
		}
		z, err := c.UpdateZone(ctx, id, req)
		if err != nil {
			return err
		}
		return a.showZone(z)
	})
	remove := &cobra.Command{
		Use: "delete ID", Short: "Archive a zone; its daemons deny everything from then on", Args: args(1, 1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, list []string) error { return c.DeleteZone(ctx, list[0]) }),
	}
	return group("zone", "Zones: who is separate from whom", list, get, create, update, remove)
}

// named is the id given as an argument, or that of the zone in use.
func (a *app) named(list []string) (string, error) {
	if len(list) > 0 {
		return list[0], nil
	}
	return a.zone()
}

// zoneFlags are the flags for a zone's settings.
type zoneFlags struct {
	mask   []string
	inputs string
	days   int
	bytes  int64
	share  float64
}

func (f *zoneFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.mask, "audit-mask", nil, "JSON pointer into the input that is masked in the audit; may be repeated")
	cmd.Flags().StringVar(&f.inputs, "audit-inputs", "kept", "whether the audit has inputs (kept) or only their hashes (hashed)")
	cmd.Flags().IntVar(&f.days, "retention-days", 0, "remove audit events older than this; 0 keeps them")
	cmd.Flags().Int64Var(&f.bytes, "retention-bytes", 0, "remove the oldest audit events beyond this size; 0 keeps them")
	cmd.Flags().Float64Var(&f.share, "loaded-share", 0, "share of the reachable daemons that must have loaded an activated version, at most 1; 0 takes the control plane's")
}

func (f *zoneFlags) changed(cmd *cobra.Command) bool {
	for _, name := range []string{"audit-mask", "audit-inputs", "retention-days", "retention-bytes", "loaded-share"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// apply changes the settings whose flags were given.
func (f *zoneFlags) apply(cmd *cobra.Command, s api.ZoneSettings) *api.ZoneSettings {
	set := cmd.Flags().Changed
	if set("audit-mask") {
		s.AuditMask = f.mask
	}
	if set("audit-inputs") || s.AuditInputs == "" {
		s.AuditInputs = f.inputs
	}
	if set("retention-days") {
		s.RetentionDays = f.days
	}
	if set("retention-bytes") {
		s.RetentionBytes = f.bytes
	}
	if set("loaded-share") {
		s.LoadedShare = nil
		if f.share != 0 {
			s.LoadedShare = &f.share
		}
	}
	if s.AuditMask == nil {
		s.AuditMask = []string{}
	}
	return &s
}

func (a *app) showZone(z api.Zone) error {
	return a.show(z, func() error {
		share := "the control plane's"
		if z.Settings.LoadedShare != nil {
			share = strconv.FormatFloat(*z.Settings.LoadedShare, 'g', -1, 64)
		}
		return a.fields("zone", z.Name, "id", z.ID, "slug", z.Slug, "loaded share", share, "created", when(z.CreatedAt))
	})
}
