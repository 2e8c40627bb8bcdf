package bundle_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
)

const pointerType = bundle.PointerType

// sealed signs any payload of any type, well-formed or not, by DSSE's rules as
// its specification writes them, and not by this package's code.
func sealed(tb testing.TB, payloadType, payload string, seeds ...byte) json.RawMessage {
	tb.Helper()
	type sig struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	signatures := []sig{}
	for _, n := range seeds {
		key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(n)), ed25519.SeedSize)))
		pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
		signatures = append(signatures, sig{testKey(tb, n).KeyID(), base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(pae)))})
	}
	raw, err := json.Marshal(map[string]any{"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString([]byte(payload)), "signatures": signatures})
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func payloadOf(tb testing.TB, env json.RawMessage) string {
	tb.Helper()
	var e struct{ Payload []byte }
	if err := json.Unmarshal(env, &e); err != nil {
		tb.Fatal(err)
	}
	return string(e.Payload)
}

func TestPointerPayloadRefused(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	set := payloadOf(t, signed(t)(bundle.SignPointer(pointerTo(pack(t, "a")), testKey(t, pointersA))))
	null := payloadOf(t, signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA))))
	for _, good := range []string{set, null} {
		if _, err := trust.VerifyPointer(sealed(t, pointerType, good, pointersA), issued); err != nil {
			t.Fatalf("%s: %v", good, err)
		}
	}
	tests := []struct{ name, in, old, with, says string }{
		{"a set but no version", set, `"policy_set_version_id":"` + setVersionID + `"`, `"policy_set_version_id":null`, "only one of"},
		{"a version but no set", set, `"policy_set_id":"` + policySetID + `"`, `"policy_set_id":null`, "only one of"},
		{"null with a hash", null, `"policy_set_id":null`, `"manifest_sha256":"` + strings.Repeat("0", 64) + `","policy_set_id":null`, "names no version"},
		{"null with a size", null, `"expires_at"`, `"bundle_size":1,"expires_at"`, "names no version"},
		{"null that is left out", null, `"policy_set_id":null,`, ``, "canonical"},
		{"an empty hash instead of none", null, `"expires_at"`, `"bundle_sha256":"","expires_at"`, "canonical"},
		{"no hash", set, `"manifest_sha256":`, `"zz":`, "zz"},
		{"an empty set", set, policySetID, ``, "no id"},
		{"a short hash", set, `"manifest_sha256":"`, `"manifest_sha256":"0`, "no SHA-256"},
		{"size 0", set, `"bundle_size":`, `"bundle_size":0,"x":`, `"x"`},
		{"no zone", set, zoneID, ``, "zone_id"},
		{"a negative sequence", set, `"sequence":41`, `"sequence":-1`, "sequence"},
		{"a sequence that JSON rounds", set, `"sequence":41`, `"sequence":9007199254740993`, "canonical"},
		{"a sequence past 2^53-1", set, `"sequence":41`, `"sequence":9007199254740992`, "sequence"},
		{"no sequence", set, `"sequence":41,`, ``, "canonical"},
		{"a null sequence", set, `"sequence":41`, `"sequence":null`, "canonical"},
		{"a time of another zone", set, `"2026-07-01T12:00:00.123456789Z"`, `"2026-07-01T14:00:00.123456789+02:00"`, "UTC"},
		{"a time with zeros at its end", set, `00:00.123456789Z","issued`, `00:00.1230Z","issued`, "canonical"},
		{"a time finer than nanoseconds", set, `12:00:00.123456789Z`, `12:00:00.1234567891Z`, "canonical"},
		{"a day that does not exist", set, `2026-07-01T12`, `2026-02-30T12`, "payload"},
		{"expires before it is issued", set, `2026-07-01T13`, `2026-07-01T11`, "not after"},
		{"no time", set, `"issued_at":"2026-07-01T12:00:00.123456789Z",`, ``, "canonical"},
		{"an unknown name", set, `"sequence"`, `"role":"x","sequence"`, `"role"`},
		{"a name twice", set, `"sequence":41`, `"sequence":41,"sequence":42`, "duplicate"},
		{"an unknown setting", null, `"settings":{}`, `"settings":{"x":1}`, `"x"`},
		{"an unknown kind of inputs", null, `"settings":{}`, `"settings":{"audit_inputs":"some"}`, "audit_inputs"},
		{"white space", set, `"sequence":41`, `"sequence": 41`, "canonical"},
		{"not UTF-8", set, `kept`, "\xff", "UTF-8"},
		{"not an object", set, set, `null`, "pointer"},
		{"empty", set, set, ``, "payload"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.in, tt.old) {
				t.Fatalf("%q is not in %s", tt.old, tt.in)
			}
			got, err := trust.VerifyPointer(sealed(t, pointerType, strings.Replace(tt.in, tt.old, tt.with, 1), pointersA), issued)
			refused(t, err, bundle.ErrFormat, tt.says)
			if got.ZoneID != "" {
				t.Error("a pointer was given with the error")
			}
		})
	}
}

func TestStatementPayloadRefused(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	p := pack(t, "a")
	good := payloadOf(t, signed(t)(bundle.SignStatement(p.Statement, testKey(t, bundlesA))))
	if _, err := trust.VerifyStatement(sealed(t, bundle.StatementType, good, bundlesA)); err != nil {
		t.Fatal(err)
	}
	size := fmt.Sprintf(`"bundle_size":%d`, p.Statement.BundleSize)
	for _, tt := range []struct{ name, old, with, says string }{
		{"no size", size + ",", ``, "canonical"},
		{"a size of 0", size, `"bundle_size":0`, "size"},
		{"a negative size", size, `"bundle_size":-5`, "size"},
		{"a size past 2^53-1", size, `"bundle_size":9007199254740992`, "2^53-1"},
		{"no hash", p.BundleSHA256, ``, "bundle_sha256"},
		{"a hash in capitals", p.ManifestSHA256, strings.ToUpper(p.ManifestSHA256), "manifest_sha256"},
		{"an unknown name", `"manifest_sha256"`, `"kind":1,"manifest_sha256"`, `"kind"`},
		{"white space", size, size + " ", "canonical"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%q is not in %s", tt.old, good)
			}
			_, err := trust.VerifyStatement(sealed(t, bundle.StatementType, strings.Replace(good, tt.old, tt.with, 1), bundlesA))
			refused(t, err, bundle.ErrFormat, tt.says)
		})
	}
}

func TestEnvelopeRefused(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	env := string(signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA))))
	payload := payloadOf(t, json.RawMessage(env))
	sig := env[strings.Index(env, `"sig":"`)+7 : strings.LastIndex(env, `"`)]
	if !strings.HasSuffix(sig, "==") {
		t.Fatalf("the signature %q has no padding", sig)
	}
	// The last digit before the padding carries four bits that mean nothing.
	last := sig[len(sig)-3]
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	loose := sig[:len(sig)-3] + string(digits[strings.IndexByte(digits, last)|1]) + "=="
	entry := `{"keyid":"` + testKey(t, pointersA).KeyID() + `","sig":"` + sig + `"}`
	replace := func(old, with string) string {
		t.Helper()
		if !strings.Contains(env, old) {
			t.Fatalf("%q is not in %s", old, env)
		}
		return strings.Replace(env, old, with, 1)
	}
	for _, tt := range []struct {
		name, env string
		sentinel  error
		says      string
	}{
		{"empty", "", bundle.ErrFormat, "envelope"},
		{"null", "null", bundle.ErrFormat, "payload"},
		{"trailing data", env + "{}", bundle.ErrFormat, "envelope"},
		{"an unknown name", replace(`"payloadType"`, `"x":1,"payloadType"`), bundle.ErrFormat, `"x"`},
		{"a name of another case", replace(`"payloadType"`, `"payloadtype"`), bundle.ErrFormat, "payloadtype"},
		{"a name twice", replace(`"payloadType"`, `"payload":"","payloadType"`), bundle.ErrFormat, "duplicate"},
		{"an unknown name in a signature", replace(`"keyid"`, `"cert":"","keyid"`), bundle.ErrFormat, "cert"},
		{"another payload type", replace("pointer+json", "bundle+json"), bundle.ErrFormat, bundle.StatementType},
		{"no signatures", replace(entry, ""), bundle.ErrSignature, ""},
		{"a null signature", replace(entry, "null"), bundle.ErrSignature, ""},
		{"too many signatures", replace(entry, strings.Repeat(entry+",", 16)+entry), bundle.ErrLimit, "17 signatures"},
		{"too large", replace(`{"payloadType"`, `{`+strings.Repeat(" ", 64<<10)+`"payloadType"`), bundle.ErrLimit, "at most 65536"},
		{"the key id of another key", replace(testKey(t, pointersA).KeyID(), testKey(t, bundlesA).KeyID()), bundle.ErrSignature, ""},
		{"base64 for URLs", replace(sig, strings.NewReplacer("+", "-", "/", "_").Replace(sig)), bundle.ErrFormat, "base64"},
		{"base64 without padding", replace(sig, strings.TrimRight(sig, "=")), bundle.ErrFormat, "base64"},
		{"base64 with bits that mean nothing", replace(sig, loose), bundle.ErrFormat, "base64"},
		{"base64 with a line end", replace(sig, sig[:10]+`\n`+sig[10:]), bundle.ErrFormat, "line end"},
		{"a payload with a line end", replace(`"payload":"`, `"payload":"\r\n`), bundle.ErrFormat, "line end"},
		{"hexadecimal", replace(sig, fmt.Sprintf("%x", sig)), bundle.ErrSignature, ""},
		{"an empty signature", replace(sig, ""), bundle.ErrSignature, ""},
		{"another payload", string(replace(base64.StdEncoding.EncodeToString([]byte(payload)), base64.StdEncoding.EncodeToString([]byte(strings.Replace(payload, "42", "43", 1))))), bundle.ErrSignature, ""},
		{"signed without the payload type", string(sealed(t, "", payload, pointersA)), bundle.ErrFormat, "payload"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := trust.VerifyPointer(json.RawMessage(tt.env), issued)
			refused(t, err, tt.sentinel, "verifying a pointer", tt.says)
		})
	}
}

func TestPointerExpiry(t *testing.T) {
	trust := loadTrust(t, firstRoot(t), rootA, rootB)
	p := nullPointer()
	env := signed(t)(bundle.SignPointer(p, testKey(t, pointersA)))
	if _, err := trust.VerifyPointer(env, p.ExpiresAt.Add(-1)); err != nil {
		t.Errorf("a nanosecond before its expiry: %v", err)
	}
	for _, now := range []time.Time{p.ExpiresAt, p.ExpiresAt.Add(time.Hour)} {
		got, err := trust.VerifyPointer(env, now)
		refused(t, err, bundle.ErrExpired, "2026-07-01T13:00:00Z")
		if got.ZoneID != p.ZoneID || got.Sequence != p.Sequence {
			t.Errorf("with ErrExpired came %+v, not the pointer", got)
		}
	}
	_, err := trust.VerifyPointer(signed(t)(bundle.SignPointer(p, testKey(t, strangerA))), p.ExpiresAt)
	refused(t, err, bundle.ErrSignature) // and not ErrExpired: nobody trusted said so
}

func TestSigningRefuses(t *testing.T) {
	key := testKey(t, pointersA)
	for _, tt := range []struct {
		name     string
		change   func(*bundle.Pointer)
		sentinel error
		says     string
	}{
		{"no zone", func(p *bundle.Pointer) { p.ZoneID = "" }, bundle.ErrFormat, "zone_id"},
		{"no expiry", func(p *bundle.Pointer) { p.ExpiresAt = time.Time{} }, bundle.ErrFormat, "missing"},
		{"one id null", func(p *bundle.Pointer) { p.PolicySetID = nil }, bundle.ErrFormat, "only one of"},
		{"a size past 2^53-1", func(p *bundle.Pointer) { p.BundleSize = 1 << 53 }, bundle.ErrFormat, "bundle_size"},
		{"a sequence past 2^53-1", func(p *bundle.Pointer) { p.Sequence = 1 << 53 }, bundle.ErrFormat, "sequence"},
		{"a mask that is not UTF-8", func(p *bundle.Pointer) { p.Settings.AuditMask = []string{"/\xff"} }, bundle.ErrFormat, "UTF-8"},
		{"a year that RFC 3339 lacks", func(p *bundle.Pointer) { p.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, bundle.ErrFormat, "signing"},
		{"an envelope that nobody accepts", func(p *bundle.Pointer) { p.Settings.AuditMask = []string{"/" + strings.Repeat("a", 64<<10)} }, bundle.ErrLimit, "at most 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pointerTo(pack(t, "a"))
			tt.change(&p)
			_, err := bundle.SignPointer(p, key)
			refused(t, err, tt.sentinel, "signing", tt.says)
		})
	}
	if _, err := bundle.SignPointer(nullPointer()); err == nil {
		t.Error("an envelope without a signature was made")
	}
	_, err := bundle.SignPointer(nullPointer(), privates(t, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57)...)
	refused(t, err, bundle.ErrLimit, "17 keys")
	_, err = bundle.SignStatement(bundle.Statement{}, key)
	refused(t, err, bundle.ErrFormat, "manifest_sha256")
}

// TestPointerTimesAreUTC signs the same moment in two time zones.
func TestPointerTimesAreUTC(t *testing.T) {
	p := nullPointer()
	want := signed(t)(bundle.SignPointer(p, testKey(t, pointersA)))
	p.IssuedAt = p.IssuedAt.In(time.FixedZone("", 2*60*60))
	p.ExpiresAt = p.ExpiresAt.In(time.FixedZone("x", -30*60))
	if got := signed(t)(bundle.SignPointer(p, testKey(t, pointersA))); string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
