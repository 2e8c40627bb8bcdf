package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/internal/durable"
)

func newKeyCommand(a *app) *cobra.Command {
	root := group("root", "Trust roots: whose signatures count", a.rootInit(), a.rootSign(), a.rootShow(), a.rootFetch())
	return group("key", "Keys and trust roots", a.keyGenerate(), a.keyShow(), root)
}

func (a *app) keyGenerate() *cobra.Command {
	return &cobra.Command{
		Use: "generate FILE", Short: "Make an Ed25519 key: FILE with the private key, FILE.pub with the public one", Args: args(1, 1),
		RunE: func(_ *cobra.Command, list []string) error {
			name := list[0]
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; a key is never overwritten", name)
			}
			key, err := bundle.GenerateKey()
			if err != nil {
				return err
			}
			private, err := key.MarshalPEM()
			if err != nil {
				return err
			}
			public, err := key.Public().MarshalPEM()
			if err != nil {
				return err
			}
			if err := errors.Join(durable.Replace(name, private, 0o600), durable.Replace(name+".pub", public, 0o644)); err != nil {
				return err
			}
			return a.show(map[string]string{"key_id": key.KeyID(), "private": name, "public": name + ".pub"}, func() error {
				return a.fields("key id", key.KeyID(), "private", name, "public", name+".pub")
			})
		},
	}
}

// publicKey reads a public key from its file or from the private key's.
func (a *app) publicKey(name string) (bundle.PublicKey, error) {
	data, err := a.content(name)
	if err != nil {
		return bundle.PublicKey{}, err
	}
	if key, err := bundle.ParsePrivateKey(data); err == nil {
		return key.Public(), nil
	}
	key, err := bundle.ParsePublicKey(data)
	if err != nil {
		return key, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

func (a *app) privateKeys(names []string) ([]*bundle.PrivateKey, error) {
	var keys []*bundle.PrivateKey
	for _, name := range names {
		data, err := a.content(name)
		if err != nil {
			return nil, err
		}
		key, err := bundle.ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (a *app) keyShow() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "Show a key's id and public part", Args: args(1, 1),
		RunE: func(_ *cobra.Command, list []string) error {
			key, err := a.publicKey(list[0])
			if err != nil {
				return err
			}
			public, err := key.MarshalPEM()
			if err != nil {
				return err
			}
			return a.show(map[string]string{"key_id": key.KeyID(), "public": string(public)}, func() error {
				return a.print(key.KeyID() + "\n" + strings.TrimSpace(string(public)))
			})
		},
	}
}

func (a *app) rootInit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "init FILE", Short: "Write a trust root and sign it", Args: args(1, 1),
		Long: `Writes a trust root, which gives keys their roles, and signs it. A rotation is a root
with the next --version, signed by the keys of the root before it too.`,
		Example: `  caracal key root init root.json --root-key root.pem --bundle-key bundles.pub --pointer-key pointers.pub --sign root.pem
  caracal key root init root2.json --version 2 --root-key new.pem --bundle-key bundles.pub --pointer-key pointers.pub --sign root.pem --sign new.pem`,
	}
	f := cmd.Flags()
	number := f.Int64("version", 1, "the root's version")
	expires := f.Duration("expires", 365*24*time.Hour, "for how long it is good")
	rootKeys := f.StringArray("root-key", nil, "file of a key that may sign roots; may be repeated")
	bundleKeys := f.StringArray("bundle-key", nil, "file of a key that may sign bundles; may be repeated")
	pointerKeys := f.StringArray("pointer-key", nil, "file of a key that may sign pointers; may be repeated")
	rootThreshold := f.Int("root-threshold", 1, "how many of the root keys must sign")
	bundleThreshold := f.Int("bundle-threshold", 1, "how many of the bundle keys must sign")
	pointerThreshold := f.Int("pointer-threshold", 1, "how many of the pointer keys must sign")
	sign := f.StringArray("sign", nil, "file of a private key to sign with; may be repeated")
	cmd.RunE = func(_ *cobra.Command, list []string) error {
		r := bundle.Root{Version: *number, Expires: time.Now().Add(*expires)}
		for _, role := range []struct {
			into      *bundle.Role
			names     []string
			threshold int
		}{{&r.Root, *rootKeys, *rootThreshold}, {&r.Bundles, *bundleKeys, *bundleThreshold}, {&r.Pointers, *pointerKeys, *pointerThreshold}} {
			role.into.Threshold = role.threshold
			for _, name := range role.names {
				key, err := a.publicKey(name)
				if err != nil {
					return err
				}
				role.into.Keys = append(role.into.Keys, key)
			}
		}
		keys, err := a.privateKeys(*sign)
		if err != nil {
			return err
		}
		root, err := bundle.SignRoot(r, keys...)
		if err != nil {
			return err
		}
		if err := durable.Replace(list[0], root, 0o644); err != nil {
			return err
		}
		return a.showRoot(root)
	}
	return cmd
}

func (a *app) rootSign() *cobra.Command {
	cmd := &cobra.Command{Use: "sign FILE", Short: "Add signatures to a trust root", Args: args(1, 1)}
	sign := cmd.Flags().StringArray("sign", nil, "file of a private key to sign with; may be repeated")
	cmd.RunE = func(_ *cobra.Command, list []string) error {
		root, err := a.content(list[0])
		if err != nil {
			return err
		}
		keys, err := a.privateKeys(*sign)
		if err != nil {
			return err
		}
		signed, err := bundle.AddRootSignature(root, keys...)
		if err != nil {
			return fmt.Errorf("%s: %w", list[0], err)
		}
		if err := durable.Replace(list[0], signed, 0o644); err != nil {
			return err
		}
		return a.print(list[0] + " is signed")
	}
	return cmd
}

func (a *app) rootShow() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "Show what a trust root says, and whether its signatures suffice", Args: args(1, 1),
		RunE: func(_ *cobra.Command, list []string) error {
			root, err := a.content(list[0])
			if err != nil {
				return err
			}
			return a.showRoot(root)
		},
	}
}

func (a *app) rootFetch() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fetch FILE", Short: "Write the control plane's first trust root, for daemons to be pinned to", Args: args(1, 1),
		Long: "Writes the control plane's first trust root to a file. Do it over a connection that you\ntrust: from then on daemons trust what this root says, and nothing else.",
	}
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		t, err := c.Trust(cmd.Context())
		if err != nil {
			return err
		}
		if len(t.Roots) == 0 {
			return errors.New("the control plane has no trust root")
		}
		if err := durable.Replace(list[0], t.Roots[0], 0o644); err != nil {
			return err
		}
		return a.showRoot(t.Roots[0])
	}
	return cmd
}

func (a *app) showRoot(raw json.RawMessage) error {
	t, err := bundle.LoadTrust(raw)
	if errors.Is(err, bundle.ErrSignature) {
		return a.print("the signatures do not suffice yet: " + err.Error())
	}
	if err != nil {
		return err
	}
	return a.show(raw, func() error {
		r := t.Root()
		ids := func(role bundle.Role) string {
			text := strconv.Itoa(role.Threshold) + " of"
			for _, k := range role.Keys {
				text += " " + short(k.KeyID())
			}
			return text
		}
		return a.fields("version", strconv.FormatInt(r.Version, 10), "expires", when(r.Expires), "sha-256", bundle.SHA256Hex(raw),
			"root", ids(r.Root), "bundles", ids(r.Bundles), "pointers", ids(r.Pointers))
	})
}
