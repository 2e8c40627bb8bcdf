package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	opabundle "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// opaKeys makes a P-256 key, since OPA does not verify Ed25519, and the
// configuration by which OPA verifies what it signs.
func opaKeys(t *testing.T) (bundle.OPAKey, *opabundle.VerificationConfig) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signs := bundle.OPAKey{PEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), Algorithm: "ES256", ID: "caracal"}
	verifies := &opabundle.KeyConfig{Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), Algorithm: "ES256"}
	return signs, opabundle.NewVerificationConfig(map[string]*opabundle.KeyConfig{"caracal": verifies}, "caracal", "", nil)
}

// loadOPA reads an exported bundle as a stock OPA does.
func loadOPA(exported []byte, verifies *opabundle.VerificationConfig) (opabundle.Bundle, error) {
	return opabundle.NewCustomReader(opabundle.NewTarballLoaderWithBaseURL(bytes.NewReader(exported), "")).
		WithBundleVerificationConfig(verifies).Read()
}

// unpacked is what a daemon would read of a set of contents.
func unpacked(t *testing.T, contents ...string) *bundle.Contents {
	t.Helper()
	p := pack(t, contents...)
	c, err := bundle.Unpack(p.Data, p.Statement, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readAll(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s: %v", pattern, err)
	}
	var contents []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(data))
	}
	return contents
}

// variants makes, of one input, inputs of which each lacks a part or has
// another value there, so that rules hold for some of them and not for others.
func variants(t *testing.T, input string) []string {
	t.Helper()
	list := []string{input}
	for _, change := range []struct {
		path  []string
		value any
	}{
		{[]string{"context", "requested_scopes"}, []any{}},
		{[]string{"context", "requested_scopes"}, []any{"payments:read"}},
		{[]string{"context", "requested_scopes"}, []any{"payments:read", "payments:refund", "other:scope"}},
		{[]string{"context", "challenge_resolved"}, true},
		{[]string{"principal", "labels"}, []any{}},
		{[]string{"principal", "labels"}, []any{"role:operator", "role:admin", "confined"}},
		{[]string{"principal", "type"}, "user"},
		{[]string{"principal", "zone_id"}, "elsewhere"},
		{[]string{"resource", "identifier"}, "urn:other"},
		{[]string{"resource", "scopes"}, []any{}},
		{[]string{"action", "id"}, "token:refresh"},
		{[]string{"delegation_edge"}, map[string]any{"id": "edge-1", "scopes": []any{"payments:read"}}},
	} {
		var doc map[string]any
		if err := json.Unmarshal([]byte(input), &doc); err != nil {
			t.Fatal(err)
		}
		at := doc
		for _, step := range change.path[:len(change.path)-1] {
			at = at[step].(map[string]any)
		}
		at[change.path[len(change.path)-1]] = change.value
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(data))
	}
	return list
}

// asJSON is v as JSON reads it.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A stock OPA verifies an exported bundle's signature, loads it, and gives the
// decisions that this platform gives.
func TestOPAAnswersTheSame(t *testing.T) {
	ctx := context.Background()
	signs, verifies := opaKeys(t)
	sets := map[string][]string{"payments": readAll(t, "../examples/payments/policies/*.rego")}
	for _, tpl := range policy.Templates() {
		sets["the template "+tpl.ID] = []string{tpl.Content}
	}
	var inputs []string
	for _, input := range readAll(t, "../examples/payments/inputs/*.json") {
		inputs = append(inputs, variants(t, input)...)
	}
	decided := map[string]int{}
	for name, contents := range sets {
		t.Run(name, func(t *testing.T) {
			c := unpacked(t, contents...)
			exported, err := bundle.ExportOPA(c, &signs)
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := loadOPA(exported, verifies)
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Manifest.Revision != c.ManifestSHA256 || !slices.Equal(*loaded.Manifest.Roots, []string{"caracal/authz"}) || loaded.Manifest.Metadata["zone_id"] != zoneID {
				t.Errorf("the manifest is %+v", loaded.Manifest)
			}
			for i, m := range loaded.Modules {
				if string(m.Raw) != contents[i] {
					t.Errorf("the module %s is no longer what was written", m.Path)
				}
			}
			query, err := rego.New(rego.Query("data.caracal.authz.result"), rego.ParsedBundle("caracal", &loaded)).PrepareForEval(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var mods []policy.Module
			for i, content := range contents {
				mods = append(mods, policy.Module{PolicyID: "p", VersionID: c.Modules[i].PolicyVersionID, Name: c.Manifest.Policies[i].Name, Content: content})
			}
			ours, err := policy.Compile(ctx, mods)
			if err != nil {
				t.Fatal(err)
			}
			for _, raw := range inputs {
				in, err := policy.ParseInput([]byte(raw))
				if err != nil {
					t.Fatal(err)
				}
				var value any
				if err := json.Unmarshal([]byte(raw), &value); err != nil {
					t.Fatal(err)
				}
				results, err := query.Eval(ctx, rego.EvalInput(value))
				if err != nil {
					t.Fatal(err)
				}
				got := ours.Evaluate(ctx, in, policy.Limits{})
				if len(results) == 0 { // the platform decides where Rego has no result
					if got.Decision != policy.Deny {
						t.Errorf("OPA has no result, we %s: %s", got.Decision, raw)
					}
					continue
				}
				theirs := asJSON(t, results[0].Expressions[0].Value).(map[string]any)
				if theirs["decision"] != got.Decision || theirs["evaluation_status"] != got.EvaluationStatus || !reflect.DeepEqual(theirs["diagnostics"], asJSON(t, got.Diagnostics)) {
					t.Errorf("OPA answers %v, we %+v: %s", theirs, got, raw)
				}
				decided[got.Decision]++
			}
		})
	}
	if decided[policy.Allow] == 0 || decided[policy.Deny] == 0 {
		t.Errorf("the inputs only ever gave %v", decided)
	}
}

// retar writes the files of an exported bundle again, changed.
func retar(t *testing.T, exported []byte, change func(name string, data []byte) []byte) []byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(exported))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	r, w := tar.NewReader(zr), tar.NewWriter(zw)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if data = change(h.Name, data); data == nil {
			continue
		}
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{w, zw} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestOPARefusesWhatWasNotSigned(t *testing.T) {
	signs, verifies := opaKeys(t)
	stranger, _ := opaKeys(t)
	c := unpacked(t, readAll(t, "../examples/payments/policies/*.rego")...)
	export := func(key *bundle.OPAKey) []byte {
		t.Helper()
		data, err := bundle.ExportOPA(c, key)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := export(&signs)
	same := func(_ string, data []byte) []byte { return data }
	if _, err := loadOPA(retar(t, good, same), verifies); err != nil {
		t.Fatalf("written again as it was: %v", err)
	}
	for name, data := range map[string][]byte{
		"unsigned":           export(nil),
		"another's key":      export(&stranger),
		"a policy removed":   retar(t, good, without(".rego")),
		"signatures removed": retar(t, good, without(".signatures.json")),
		"a policy changed": retar(t, good, func(name string, data []byte) []byte {
			return bytes.Replace(data, []byte("not scope in grants"), []byte("scope in grants"), 1)
		}),
		"the manifest changed": retar(t, good, func(name string, data []byte) []byte {
			return bytes.Replace(data, []byte(c.ManifestSHA256), []byte(strings.Repeat("0", 64)), 1)
		}),
	} {
		if _, err := loadOPA(data, verifies); err == nil {
			t.Errorf("%s: OPA loaded it", name)
		}
	}
	if _, err := loadOPA(export(nil), nil); err != nil {
		t.Errorf("unsigned, where no signature is asked for: %v", err)
	}
}

// without removes the first file whose name ends so.
func without(suffix string) func(string, []byte) []byte {
	removed := false
	return func(name string, data []byte) []byte {
		if !removed && strings.HasSuffix(name, suffix) {
			removed = true
			return nil
		}
		return data
	}
}

func TestExportOPARefuses(t *testing.T) {
	signs, _ := opaKeys(t)
	good := unpacked(t, "package caracal.authz\n")
	for _, tt := range []struct {
		name     string
		contents *bundle.Contents
		key      bundle.OPAKey
		says     string
	}{
		{"an algorithm that OPA lacks", good, bundle.OPAKey{PEM: signs.PEM, Algorithm: "EdDSA"}, `"EdDSA"`},
		{"no key", good, bundle.OPAKey{Algorithm: "ES256"}, "empty"},
		{"no PEM", good, bundle.OPAKey{PEM: []byte("x"), Algorithm: "ES256"}, "signing"},
		{"a policy that does not parse", unpacked(t, "package"), signs, "policy version"},
	} {
		if _, err := bundle.ExportOPA(tt.contents, &tt.key); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got the error %v", tt.name, err)
		}
	}
}
