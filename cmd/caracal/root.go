package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/settings"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage is matched when the command line cannot mean anything.
var errUsage = errors.New("wrong usage")

// app is what every command has: the global flags and the standard streams.
type app struct {
	apiURL, token, zoneID string
	json                  bool
	in                    io.Reader
	out, errs             io.Writer
}

// run runs a command line and gives the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: out, errs: errs}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintln(errs, "caracal:", err)
	var answer *client.Error
	if errors.As(err, &answer) {
		for _, e := range answer.Errors {
			where := fmt.Sprintf("%d:%d", e.Location.Row, e.Location.Col)
			if name := cmp.Or(e.Policy, e.File); name != "" {
				where = name + ":" + where
			}
			_, _ = fmt.Fprintf(errs, "  %s: %s\n", where, e.Message)
		}
	}
	if errors.Is(err, errUsage) || errors.Is(err, settings.ErrInvalid) {
		_, _ = fmt.Fprintf(errs, "Try '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "caracal",
		Short: "Write, publish, activate and audit the policies that an STS asks",
		Long: `caracal runs the control plane and talks to it.

A policy is a Rego document. Its versions are put into policy-set versions, which
are signed bundles. Activating one moves a zone's pointer, and the daemons beside
the STS nodes load it. Every decision is audited with its exact input.

Start with 'caracal dev', then source the env file that it writes.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          help,
	}
	root.SetVersionTemplate("caracal {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&a.apiURL, "api-url", "", "the control plane's URL [$CARACAL_API_URL, else http://127.0.0.1:3000]")
	f.StringVar(&a.token, "token", "", "a token of the control plane [$CARACAL_ADMIN_TOKEN]")
	f.StringVar(&a.zoneID, "zone", "", "the zone's id [$CARACAL_ZONE_ID]")
	f.BoolVar(&a.json, "json", false, "print JSON, as the API has it; of a list all items")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddGroup(&cobra.Group{ID: "serve", Title: "Serve:"}, &cobra.Group{ID: "api", Title: "Work with the control plane:"}, &cobra.Group{ID: "local", Title: "Work with files and daemons:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("serve", newDevCommand(), newAdminCommand(a), newMirrorCommand(), newWebCommand(a))
	add("api", newZoneCommand(a), newPolicyCommand(a), newSetCommand(a), newAuditCommand(a), newTokenCommand(a), newDaemonCommand(a))
	add("local", newDecideCommand(a), newBundleCommand(a), newKeyCommand(a), newBenchCommand(a))
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.print("caracal " + version) },
	})
	return root
}

// help is what a command that only groups others does; without a verb it is
// wrong usage.
func help(cmd *cobra.Command, _ []string) error {
	if err := cmd.Help(); err != nil {
		return err
	}
	return fmt.Errorf("%w: a verb is missing", errUsage)
}

// noArgs and args are cobra's with the right exit code.
func noArgs(cmd *cobra.Command, list []string) error {
	if len(list) > 0 && cmd.HasSubCommands() {
		return fmt.Errorf("%w: %s has no verb %q", errUsage, cmd.CommandPath(), list[0])
	}
	return args(0, 0)(cmd, list)
}

func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if len(list) < least || (most >= 0 && len(list) > most) {
			return fmt.Errorf("%w: %s has %d arguments", errUsage, cmd.UseLine(), len(list))
		}
		return nil
	}
}

// group makes a command that only groups others.
func group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: help}
	g.AddCommand(cmds...)
	return g
}

// setting is a global flag or its environment variable.
func setting(flag, variable, otherwise string) string {
	if flag != "" {
		return flag
	}
	if v := os.Getenv(variable); v != "" {
		return v
	}
	return otherwise
}

// client talks to the control plane.
func (a *app) client() (*client.Client, error) {
	token := setting(a.token, "CARACAL_ADMIN_TOKEN", "")
	if token == "" {
		return nil, fmt.Errorf("%w: no token: set CARACAL_ADMIN_TOKEN or --token", errUsage)
	}
	c, err := client.New(setting(a.apiURL, "CARACAL_API_URL", "http://127.0.0.1:3000"), token, client.WithHeader("User-Agent", "caracal/"+version))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return c, nil
}

// zone is the zone that a command is about.
func (a *app) zone() (string, error) {
	if z := setting(a.zoneID, "CARACAL_ZONE_ID", ""); z != "" {
		return z, nil
	}
	return "", fmt.Errorf("%w: no zone: set CARACAL_ZONE_ID or --zone", errUsage)
}

// inZone runs a command that needs a client and a zone.
func (a *app) inZone(f func(ctx context.Context, c *client.Client, zone string, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, list []string) error {
		zone, err := a.zone()
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, zone, list)
	}
}

// withClient runs a command that needs a client.
func (a *app) withClient(f func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, list []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, list)
	}
}

// content reads a file, or standard input for "-".
func (a *app) content(name string) ([]byte, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(a.in)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

// text is content that is UTF-8. What is not could not be sent as it is.
func (a *app) text(name string) ([]byte, error) {
	data, err := a.content(name)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size <= 1 {
			return nil, fmt.Errorf("%s is not UTF-8 at byte %d", name, at)
		}
		at += size
	}
	return data, nil
}
