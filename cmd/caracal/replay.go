package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

func (a *app) setReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay SET [VERSION-ID]", Short: "Make recent decisions again by a version, and list those that come out otherwise", Args: args(1, 2),
		Long: `Makes the zone's newest decisions again by a version of a set, the newest by default,
on the inputs that the audit kept. Nothing changes. The exit code is 1 where --expect-none
is given and a decision comes out otherwise.`,
		Example: `  caracal policy-set replay payments
  caracal policy-set replay payments --decision allow --limit 1000 --expect-none`,
	}
	var req api.ReplayRequest
	cmd.Flags().IntVar(&req.Limit, "limit", 200, "the most decisions, 1 to 1000")
	cmd.Flags().StringVar(&req.Decision, "decision", "", "only what was decided so: allow or deny")
	since := cmd.Flags().String("since", "", "only decisions at or after this RFC 3339 time, or so long ago (1h)")
	none := cmd.Flags().Bool("expect-none", false, "fail where a decision comes out otherwise")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		if err := checkLimit(req.Limit, 1000); err != nil {
			return err
		}
		s, err := findSet(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		if req.VersionID, err = versionOf(ctx, c, zone, s.ID, list[1:]); err != nil {
			return err
		}
		if req.Since, err = moment("since", *since); err != nil {
			return err
		}
		r, err := c.Replay(ctx, zone, s.ID, req)
		if err != nil {
			return err
		}
		err = a.show(r, func() error {
			if err := a.fields("version", r.VersionID, "replayed", fmt.Sprint(r.Replayed), "skipped", fmt.Sprint(r.Skipped), "flipped", fmt.Sprint(len(r.Flipped))); err != nil {
				return err
			}
			var rows [][]string
			for _, f := range r.Flipped {
				rows = append(rows, []string{when(f.OccurredAt), f.RequestID, f.Was, f.Now, f.Reason})
			}
			if rows == nil {
				return nil
			}
			return a.table([]string{"AT", "REQUEST ID", "WAS", "NOW", "WHY"}, rows)
		})
		if err != nil {
			return err
		}
		if *none && len(r.Flipped) > 0 {
			return fmt.Errorf("%d of %d decisions come out otherwise", len(r.Flipped), r.Replayed)
		}
		return nil
	})
	return cmd
}
