package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

func newTokenCommand(a *app) *cobra.Command {
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a token; its secret is printed this once", Args: args(1, 1),
		Example: "  caracal token create sts-1 --role daemon --only-zone $CARACAL_ZONE_ID --expires 720h",
	}
	roles := create.Flags().StringSlice("role", nil, "admin, viewer, author, activator, auditor or daemon; may be repeated")
	zone := create.Flags().String("only-zone", "", "bound the token to this zone")
	expires := create.Flags().Duration("expires", 0, "for how long it is good; 0 is for ever")
	create.RunE = a.withClient(func(ctx context.Context, c *client.Client, list []string) error {
		if len(*roles) == 0 {
			return fmt.Errorf("%w: --role is required", errUsage)
		}
		req := api.TokenCreate{Name: list[0], Roles: *roles}
		if *zone != "" {
			req.ZoneID = zone
		}
		if *expires > 0 {
			at := time.Now().Add(*expires).UTC()
			req.ExpiresAt = &at
		}
		t, err := c.CreateToken(ctx, req)
		if err != nil {
			return err
		}
		return a.show(t, func() error { return a.fields("token", t.Secret, "id", t.ID, "roles", strings.Join(t.Roles, ", ")) })
	})
	return group("token", "Tokens: who may do what", create,
		&cobra.Command{
			Use: "list", Short: "List tokens, without their secrets", Args: noArgs,
			RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
				list, err := collect(client.All(ctx, c.Tokens))
				if err != nil {
					return err
				}
				return a.show(list, func() error {
					var rows [][]string
					for _, t := range list {
						state := "good"
						switch {
						case t.RevokedAt != nil:
							state = "revoked"
						case t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()):
							state = "expired"
						}
						rows = append(rows, []string{t.Name, t.ID, strings.Join(t.Roles, ","), orDash(t.ZoneID), state, whenOrDash(t.LastUsedAt)})
					}
					return a.table([]string{"NAME", "ID", "ROLES", "ZONE", "STATE", "LAST USED"}, rows)
				})
			}),
		},
		&cobra.Command{
			Use: "revoke ID", Short: "Revoke a token", Args: args(1, 1),
			RunE: a.withClient(func(ctx context.Context, c *client.Client, list []string) error { return c.RevokeToken(ctx, list[0]) }),
		},
		&cobra.Command{
			Use: "whoami", Short: "Say whose token is in use", Args: noArgs,
			RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
				w, err := c.WhoAmI(ctx)
				if err != nil {
					return err
				}
				return a.show(w, func() error {
					return a.fields("name", w.Name, "id", w.ID, "roles", strings.Join(w.Roles, ", "), "zone", orDash(w.ZoneID))
				})
			}),
		})
}
