package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/internal/durable"
)

func newBundleCommand(a *app) *cobra.Command {
	return group("bundle", "Bundles: what the daemons load", a.bundleInspect(), a.bundleVerify(), a.bundlePull(), a.bundleExport())
}

func (a *app) bundleInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show what is in a bundle, without trusting it", Args: args(1, 1),
		RunE: func(_ *cobra.Command, list []string) error {
			data, err := a.content(list[0])
			if err != nil {
				return err
			}
			in, _, err := bundle.Inspect(data, bundle.DefaultLimits())
			if err != nil {
				return fmt.Errorf("%s: %w", list[0], err)
			}
			return a.show(in, func() error {
				m := in.Manifest
				if err := a.fields("bundle", in.BundleSHA256, "manifest", in.ManifestSHA256, "zone", m.ZoneID, "policy set", m.PolicySetID, "version", strconv.Itoa(m.Version),
					"entry point", m.EntryPoint, "schema", m.SchemaVersion, "compressor", m.Compressor,
					"size", fmt.Sprintf("%d bytes, %d uncompressed", in.BundleSize, in.UncompressedSize)); err != nil {
					return err
				}
				var rows [][]string
				for _, p := range m.Policies {
					rows = append(rows, []string{p.Name, p.PolicyVersionID, p.ContentSHA256})
				}
				return a.table([]string{"POLICY", "VERSION ID", "SHA-256"}, rows)
			})
		},
	}
}

// trusted reads a pinned trust root from a file.
func (a *app) trusted(name string) (*bundle.Trust, error) {
	root, err := a.content(name)
	if err != nil {
		return nil, err
	}
	t, err := bundle.LoadTrust(root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func (a *app) bundleVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check a bundle against its signature and a trust root, like a daemon does", Args: args(1, 1),
		Example: "  caracal bundle verify payments.bundle --envelope payments.bundle.sig --trust-root root.json",
	}
	envelope := cmd.Flags().String("envelope", "", "file with the bundle's signature; FILE.sig by default")
	root := cmd.Flags().String("trust-root", "", "file with the trust root")
	cmd.RunE = func(_ *cobra.Command, list []string) error {
		if *root == "" {
			return fmt.Errorf("%w: --trust-root is required", errUsage)
		}
		if *envelope == "" {
			*envelope = list[0] + ".sig"
		}
		data, err := a.content(list[0])
		if err != nil {
			return err
		}
		env, err := a.content(*envelope)
		if err != nil {
			return err
		}
		trust, err := a.trusted(*root)
		if err != nil {
			return err
		}
		s, err := trust.VerifyStatement(env)
		if err != nil {
			return fmt.Errorf("%s: %w", *envelope, err)
		}
		c, err := bundle.Unpack(data, s, bundle.DefaultLimits())
		if err != nil {
			return fmt.Errorf("%s: %w", list[0], err)
		}
		return a.show(s, func() error {
			return a.print(fmt.Sprintf("%s is good: %d policies of zone %s, manifest %s", list[0], len(c.Modules), c.Manifest.ZoneID, c.ManifestSHA256))
		})
	}
	return cmd
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (a *app) bundlePull() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull SHA256", Short: "Fetch a bundle and its signature", Args: args(1, 1),
		Long: "Fetches a bundle and its signature (FILE and FILE.sig). The hash is checked, and\nwith --trust-root the signature too.",
	}
	output := cmd.Flags().StringP("output", "o", "", "file to write; SHA256.bundle by default")
	root := cmd.Flags().String("trust-root", "", "file with the trust root to check the signature by")
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		data, env, err := a.fetch(cmd.Context(), list[0], *root)
		if err != nil {
			return err
		}
		if *output == "" {
			*output = list[0] + ".bundle"
		}
		if err := errors.Join(durable.Replace(*output+".sig", env, 0o644), durable.Replace(*output, data, 0o644)); err != nil {
			return err
		}
		return a.show(map[string]string{"file": *output, "envelope": *output + ".sig"}, func() error {
			return a.print(fmt.Sprintf("%s: %d bytes", *output, len(data)))
		})
	}
	return cmd
}

// fetch reads a bundle and its signature, and verifies them where there is a trust root.
func (a *app) fetch(ctx context.Context, hash, root string) (data []byte, env json.RawMessage, err error) {
	if !hashPattern.MatchString(hash) {
		return nil, nil, fmt.Errorf("%w: %q is no SHA-256", errUsage, hash)
	}
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	if data, err = c.Bundle(ctx, hash); err != nil {
		return nil, nil, err
	}
	if env, err = c.BundleEnvelope(ctx, hash); err != nil || root == "" {
		return data, env, err
	}
	trust, err := a.trusted(root)
	if err != nil {
		return nil, nil, err
	}
	s, err := trust.VerifyStatement(env)
	if err != nil {
		return nil, nil, err
	}
	_, err = bundle.Unpack(data, s, bundle.DefaultLimits())
	return data, env, err
}

func (a *app) bundleExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export FILE|SHA256", Short: "Write a bundle that a stock OPA loads", Args: args(1, 1),
		Long: `Writes a bundle (.tar.gz) that a stock OPA loads, from a bundle's file or hash.
With --key it is signed the way OPA verifies: OPA knows no Ed25519, so the key is
another than those of the trust root, for example ECDSA P-256 for ES256.`,
		Example: "  caracal bundle export payments.bundle --opa -o payments.tar.gz\n  opa eval -b payments.tar.gz -i input.json data.caracal.authz.result",
	}
	opa := cmd.Flags().Bool("opa", false, "in OPA's format, the only one there is")
	output := cmd.Flags().StringP("output", "o", "bundle.tar.gz", "file to write")
	keyFile := cmd.Flags().String("key", "", "PEM file of the key to sign with")
	algorithm := cmd.Flags().String("algorithm", "ES256", "the key's algorithm, as OPA names it")
	keyID := cmd.Flags().String("key-id", "", "the key's id in OPA's configuration")
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		if !*opa {
			return fmt.Errorf("%w: --opa is required", errUsage)
		}
		var data []byte
		var err error
		if _, serr := os.Stat(list[0]); serr != nil && hashPattern.MatchString(list[0]) {
			data, _, err = a.fetch(cmd.Context(), list[0], "")
		} else {
			data, err = a.content(list[0])
		}
		if err != nil {
			return err
		}
		_, contents, err := bundle.Inspect(data, bundle.DefaultLimits())
		if err != nil {
			return fmt.Errorf("%s: %w", list[0], err)
		}
		var key *bundle.OPAKey
		if *keyFile != "" {
			pem, err := os.ReadFile(*keyFile)
			if err != nil {
				return err
			}
			key = &bundle.OPAKey{PEM: pem, Algorithm: *algorithm, ID: *keyID}
		}
		made, err := bundle.ExportOPA(contents, key)
		if err != nil {
			return err
		}
		if err := durable.Replace(*output, made, 0o644); err != nil {
			return err
		}
		return a.show(map[string]any{"file": *output, "signed": key != nil}, func() error {
			return a.print(fmt.Sprintf("%s: %d policies, entry point %s", *output, len(contents.Modules), contents.Manifest.EntryPoint))
		})
	}
	return cmd
}
