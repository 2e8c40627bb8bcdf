package bundle_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/caracalai/caracald/bundle"
)

func TestRolesAreSeparate(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	p := pack(t, "a")
	for _, tt := range []struct {
		name               string
		key                byte
		statement, pointer bool
	}{
		{"bundles", bundlesA, true, false},
		{"pointers", pointersA, false, true},
		{"root", rootA, false, false},
		{"stranger", strangerA, false, false},
	} {
		_, err := trust.VerifyStatement(signed(t)(bundle.SignStatement(p.Statement, testKey(t, tt.key))))
		if tt.statement && err != nil {
			t.Errorf("a statement by the key of %s: %v", tt.name, err)
		} else if !tt.statement {
			refused(t, err, bundle.ErrSignature, "bundle")
		}
		_, err = trust.VerifyPointer(signed(t)(bundle.SignPointer(pointerTo(p), testKey(t, tt.key))), issued)
		if tt.pointer && err != nil {
			t.Errorf("a pointer by the key of %s: %v", tt.name, err)
		} else if !tt.pointer {
			refused(t, err, bundle.ErrSignature, "pointer")
		}
	}
}

func TestEnvelopeThreshold(t *testing.T) {
	r := firstRoot(t)
	r.Pointers = role(t, 2, pointersA, pointersB, strangerB)
	trust := loadTrust(t, r, rootA, rootB)
	payload := payloadOf(t, signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA))))
	for _, tt := range []struct {
		name    string
		signers []byte
		ok      bool
	}{
		{"one", []byte{pointersA}, false},
		{"one twice", []byte{pointersA, pointersA}, false},
		{"one three times", []byte{pointersA, pointersA, pointersA}, false},
		{"one and a stranger", []byte{pointersA, strangerA}, false},
		{"one and a key of another role", []byte{pointersA, bundlesA}, false},
		{"two", []byte{pointersA, pointersB}, true},
		{"two others, turned around", []byte{strangerB, pointersB}, true},
		{"all", []byte{pointersA, pointersB, strangerB}, true},
		{"two and a stranger between", []byte{pointersA, strangerA, pointersB}, true},
		{"one twice and another", []byte{pointersA, pointersA, pointersB}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := sealed(t, pointerType, payload, tt.signers...)
			_, err := trust.VerifyPointer(env, issued)
			if tt.ok && err != nil {
				t.Fatal(err)
			} else if !tt.ok {
				refused(t, err, bundle.ErrSignature)
			}
			// A key id is a hint: without it, what counts is the same.
			bare := regexp.MustCompile(`"keyid":"[0-9a-f]*"`).ReplaceAllString(string(env), `"keyid":""`)
			if _, again := trust.VerifyPointer(json.RawMessage(bare), issued); (err == nil) != (again == nil) {
				t.Errorf("without key ids: %v", again)
			}
		})
	}
}

func TestRootThreshold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		signers []byte
		ok      bool
	}{
		{"one", []byte{rootA}, false},
		{"one, given twice", []byte{rootA, rootA}, false},
		{"one and keys of other roles", []byte{rootA, bundlesA, pointersA, strangerA}, false},
		{"two", []byte{rootC, rootA}, true},
		{"all", []byte{rootA, rootB, rootC}, true},
	} {
		_, err := bundle.LoadTrust(signRoot(t, firstRoot(t), tt.signers...))
		if tt.ok && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if !tt.ok {
			refused(t, err, bundle.ErrSignature, "loading a trust root")
		}
	}
	// Two people sign apart from each other; the order changes nothing.
	one := signRoot(t, firstRoot(t), rootB)
	both := signed(t)(bundle.AddRootSignature(one, testKey(t, rootA)))
	if want := signRoot(t, firstRoot(t), rootA, rootB); string(both) != string(want) {
		t.Errorf("got %s, want %s", both, want)
	}
	if again := signed(t)(bundle.AddRootSignature(both, testKey(t, rootA))); string(again) != string(both) {
		t.Error("a key that signed already changed the root")
	}
	trust, err := bundle.LoadTrust(both)
	if err != nil {
		t.Fatal(err)
	}
	if string(trust.Raw()) != string(both) || trust.Version() != 1 || len(trust.Root().Root.Keys) != 3 || trust.Root().Root.Threshold != 2 {
		t.Errorf("the root read is %+v", trust.Root())
	}
	trust.Root().Pointers.Keys[0] = testKey(t, strangerA).Public()
	trust.Raw()[0] = 'x'
	if trust.Root().Pointers.Keys[0].KeyID() != testKey(t, pointersA).KeyID() || trust.Raw()[0] != '{' {
		t.Error("a trust can be changed from outside")
	}
}

func TestRotation(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	second := rotated(t)
	for _, tt := range []struct {
		name    string
		signers []byte
		says    string // "" where the rotation is followed
	}{
		{"the old threshold and the new", []byte{rootA, rootC, newRootA, newRootB}, ""},
		{"the old threshold alone", []byte{rootA, rootB, rootC}, "by itself"},
		{"the new threshold alone", []byte{newRootA, newRootB}, "by the root before"},
		{"one of the old", []byte{rootA, newRootA, newRootB}, "by the root before"},
		{"one of the new", []byte{rootA, rootB, newRootA}, "by itself"},
		{"keys of other roles", []byte{bundlesA, pointersA, newRootA, newRootB}, "by the root before"},
	} {
		next, err := trust.Update(signRoot(t, second, tt.signers...))
		if tt.says != "" {
			refused(t, err, bundle.ErrSignature, tt.says)
		} else if err != nil || next.Version() != 2 {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if trust.Version() != 1 {
		t.Error("following a rotation changed the trust followed from")
	}
	old := []byte{rootA, rootB, newRootA, newRootB}
	for _, version := range []int64{1, 3, 1 << 40} {
		r := second
		r.Version = version
		_, err := trust.Update(signRoot(t, r, old...))
		refused(t, err, bundle.ErrFormat, "does not follow 1")
	}

	env := signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA)))
	renewed := signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersB)))
	next, err := trust.Update(signRoot(t, second, old...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = next.VerifyPointer(env, issued)
	refused(t, err, bundle.ErrSignature)
	if _, err := next.VerifyPointer(renewed, issued); err != nil {
		t.Errorf("the pointers key that came: %v", err)
	}
	_, err = trust.VerifyPointer(renewed, issued)
	refused(t, err, bundle.ErrSignature)
}

func TestUpdateAll(t *testing.T) {
	first := signRoot(t, firstRoot(t), rootA, rootB)
	second := signRoot(t, rotated(t), rootA, rootB, newRootA, newRootB)
	r := rotated(t)
	r.Version = 3
	third := signRoot(t, r, newRootA, newRootB)
	unsigned := signRoot(t, r, rootA, rootB)
	trust, err := bundle.LoadTrust(first)
	if err != nil {
		t.Fatal(err)
	}
	for name, chain := range map[string][]json.RawMessage{"whole": {first, second, third}, "what is missing": {second, third}, "with repeats": {first, second, second, first, third}} {
		got, err := trust.UpdateAll(chain)
		if err != nil || got.Version() != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := trust.UpdateAll(nil)
	if err != nil || got.Version() != 1 {
		t.Errorf("nothing: %v", err)
	}
	now, err := trust.UpdateAll([]json.RawMessage{second, third})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := now.UpdateAll([]json.RawMessage{first, second}); err != nil || again.Version() != 3 {
		t.Errorf("older roots moved the trust: %v", err)
	}
	_, err = trust.UpdateAll([]json.RawMessage{first, third})
	refused(t, err, bundle.ErrFormat, "version 3 does not follow 1")
	_, err = trust.UpdateAll([]json.RawMessage{second, unsigned})
	refused(t, err, bundle.ErrSignature, "by the root before")
	_, err = trust.UpdateAll([]json.RawMessage{second, json.RawMessage("{}")})
	refused(t, err, bundle.ErrFormat, "trust root")
}

func TestRootExpiry(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	if err := trust.CheckExpiry(rootExpiry.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	refused(t, trust.CheckExpiry(rootExpiry), bundle.ErrExpired, "trust root 1", "2036-01-01T00:00:00Z")
	r := firstRoot(t)
	r.Expires = time.Date(2030, 1, 1, 2, 0, 0, 999, time.FixedZone("", 7200))
	if got := loadTrust(t, r, rootA, rootB).Expires(); got != time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) {
		t.Errorf("a root expires at %s", got)
	}
}

func TestSignRootRefused(t *testing.T) {
	many := make([]byte, 17)
	for i := range many {
		many[i] = byte(100 + i)
	}
	for _, tt := range []struct {
		name     string
		change   func(*bundle.Root)
		sentinel error
		says     string
	}{
		{"version 0", func(r *bundle.Root) { r.Version = 0 }, bundle.ErrFormat, "version is 0"},
		{"threshold 0", func(r *bundle.Root) { r.Bundles.Threshold = 0 }, bundle.ErrFormat, "threshold of bundles is 0"},
		{"fewer keys than the threshold", func(r *bundle.Root) { r.Pointers.Threshold = 2 }, bundle.ErrFormat, "pointers has 1 keys for a threshold of 2"},
		{"no keys", func(r *bundle.Root) { r.Bundles.Keys = nil }, bundle.ErrFormat, "bundles has 0 keys"},
		{"a key twice", func(r *bundle.Root) { r.Root = role(t, 2, rootA, rootA) }, bundle.ErrFormat, "root has a key twice"},
		{"an empty key", func(r *bundle.Root) { r.Pointers.Keys = []bundle.PublicKey{{}} }, bundle.ErrFormat, "pointers has an empty key"},
		{"too many keys", func(r *bundle.Root) { r.Pointers = role(t, 1, many...) }, bundle.ErrLimit, "17 keys"},
	} {
		r := firstRoot(t)
		tt.change(&r)
		_, err := bundle.SignRoot(r, testKey(t, rootA))
		refused(t, err, tt.sentinel, "signing a trust root", tt.says)
	}
	if _, err := bundle.SignRoot(firstRoot(t)); err == nil {
		t.Error("a root without a signature was made")
	}
}

func TestLoadTrustRefused(t *testing.T) {
	good := string(signRoot(t, firstRoot(t), rootA, rootB))
	id := testKey(t, pointersA).KeyID()
	key := regexp.MustCompile(`"` + id + `":(\{[^}]*\}[^}]*\})`).FindString(good)
	replace := func(old, with string) string {
		t.Helper()
		if old == "" || !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return strings.Replace(good, old, with, 1)
	}
	signature := regexp.MustCompile(`"sig":"([0-9a-f]*)"`).FindStringSubmatch(good)[1]
	for _, tt := range []struct {
		name, root string
		sentinel   error
		says       string
	}{
		{"empty", "", bundle.ErrFormat, "not valid JSON"},
		{"null", "null", bundle.ErrFormat, "trust root"},
		{"an object of nothing", "{}", bundle.ErrFormat, "trust root"},
		{"null parts", `{"signatures":null,"signed":null}`, bundle.ErrFormat, "trust root"},
		{"of another type", replace(`"_type":"root"`, `"_type":"targets"`), bundle.ErrFormat, "trust root"},
		{"too large", good + strings.Repeat(" ", 256<<10), bundle.ErrLimit, "at most 262144"},
		{"a name twice", replace(`"version":1`, `"version":1,"version":1`), bundle.ErrFormat, "not valid JSON"},
		{"not UTF-8", replace(`"1.0.31"`, "\"\xff\""), bundle.ErrFormat, "not valid JSON"},
		{"names of another case", replace(`"version":1`, `"Version":1`), bundle.ErrFormat, "trust root"},
		{"a signature in capitals", replace(signature, strings.ToUpper(signature)), bundle.ErrFormat, "as TUF writes"},
		{"another version", replace(`"version":1`, `"version":2`), bundle.ErrSignature, "loading"},
		{"an unknown name", replace(`"version":1`, `"version":1,"x":1`), bundle.ErrSignature, "loading"},
		{"no role for pointers", replace(`"timestamp"`, `"timestamps"`), bundle.ErrFormat, ""},
		{"a null role", regexp.MustCompile(`"root":\{[^}]*\}`).ReplaceAllString(good, `"root":null`), bundle.ErrFormat, "no role root"},
		{"a null key", replace(key, `"`+id+`":null`), bundle.ErrFormat, id},
		{"a missing key", replace(key+",", ``), bundle.ErrFormat, id},
		{"a key of another id", replace(key, strings.Replace(key, hexKey(t, good, id), hexKey(t, good, testKey(t, bundlesA).KeyID()), 1)), bundle.ErrFormat, "has the id"},
		{"a short key", replace(hexKey(t, good, id), "abcd"), bundle.ErrFormat, "key"},
		{"a key of another kind", replace(key, strings.Replace(key, `"keytype":"ed25519"`, `"keytype":"rsa"`, 1)), bundle.ErrFormat, "key"},
		{"a threshold of 0", replace(`"threshold":2`, `"threshold":0`), bundle.ErrFormat, "threshold of root is 0"},
		{"a threshold that is lower", replace(`"threshold":2`, `"threshold":1`), bundle.ErrSignature, ""},
		{"a threshold that is higher", replace(`"threshold":2`, `"threshold":4`), bundle.ErrFormat, "threshold of 4"},
		{"a key of a role twice", replace(`"targets":{"keyids":[`, `"targets":{"keyids":["`+testKey(t, bundlesA).KeyID()+`",`), bundle.ErrFormat, "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := bundle.LoadTrust(json.RawMessage(tt.root))
			refused(t, err, tt.sentinel, tt.says)
		})
	}
}

func hexKey(t *testing.T, root, id string) string {
	t.Helper()
	m := regexp.MustCompile(`"` + id + `":\{"keytype":"ed25519","keyval":\{"public":"([0-9a-f]{64})"`).FindStringSubmatch(root)
	if m == nil {
		t.Fatalf("the key %s is not in %s", id, root)
	}
	return m[1]
}

// TestRootIsTUF has TUF's own library read and verify a root made here.
func TestRootIsTUF(t *testing.T) {
	raw := signRoot(t, firstRoot(t), rootA, rootB)
	meta, err := new(metadata.Metadata[metadata.RootType]).FromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.VerifyDelegate(metadata.ROOT, meta); err != nil {
		t.Error(err)
	}
	for name, key := range map[string]byte{metadata.TARGETS: bundlesA, metadata.TIMESTAMP: pointersA, metadata.SNAPSHOT: pointersA} {
		if ids := meta.Signed.Roles[name].KeyIDs; len(ids) != 1 || ids[0] != testKey(t, key).KeyID() {
			t.Errorf("the role %s has the keys %v", name, ids)
		}
	}
	indented, err := meta.ToBytes(true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.LoadTrust(indented); err != nil {
		t.Errorf("white space is no reason to refuse a root: %v", err)
	}
}

func TestKeys(t *testing.T) {
	key, err := bundle.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bundle.ParsePrivateKey(private)
	if err != nil || again.KeyID() != key.KeyID() {
		t.Errorf("a private key read again: %v", err)
	}
	pub, err := bundle.ParsePublicKey(public)
	if err != nil || pub.KeyID() != key.KeyID() {
		t.Errorf("a public key read again: %v", err)
	}
	if raw, err := hex.DecodeString(key.KeyID()); err != nil || len(raw) != 32 {
		t.Errorf("the key id is %q", key.KeyID())
	}
	// From TUF's specification: the SHA-256 of the key's canonical JSON.
	canonical := `{"keytype":"ed25519","keyval":{"public":"` + hexKey(t, string(signRoot(t, firstRoot(t), rootA)), testKey(t, rootA).KeyID()) + `"},"scheme":"ed25519"}`
	if want := bundle.SHA256Hex([]byte(canonical)); testKey(t, rootA).KeyID() != want {
		t.Errorf("the key id is %s, want %s", testKey(t, rootA).KeyID(), want)
	}
	_, err = bundle.ParsePrivateKey(public)
	refused(t, err, bundle.ErrFormat, "not a private key")
	_, err = bundle.ParsePublicKey(private)
	refused(t, err, bundle.ErrFormat, "not a public key")
	ec, verifies := opaKeys(t)
	_, err = bundle.ParsePrivateKey(ec.PEM)
	refused(t, err, bundle.ErrFormat, "not Ed25519")
	_, err = bundle.ParsePublicKey([]byte(verifies.PublicKeys["caracal"].Key))
	refused(t, err, bundle.ErrFormat, "not Ed25519")
	for _, broken := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		_, err = bundle.ParsePrivateKey([]byte(broken))
		_, perr := bundle.ParsePublicKey([]byte(broken))
		if !errors.Is(err, bundle.ErrFormat) || !errors.Is(perr, bundle.ErrFormat) {
			t.Errorf("%q: got %v and %v", broken, err, perr)
		}
	}
	if _, err := (bundle.PublicKey{}).MarshalPEM(); err == nil {
		t.Error("the zero key was encoded")
	}
}
