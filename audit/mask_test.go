package audit_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

var maskKey = []byte("a key of thirty-two bytes or more")

// digest is what stands for a value whose canonical form is given.
func digest(canonical string) string {
	mac := hmac.New(sha256.New, maskKey)
	mac.Write([]byte(canonical))
	return `"hmac-sha256:` + hex.EncodeToString(mac.Sum(nil)) + `"`
}

func TestMask(t *testing.T) {
	for _, c := range []struct {
		name, input string
		pointers    []string
		want        string
		found       []string
	}{
		{"a member, spaces and order kept", `{ "b" : 1 , "a":"s" }`, []string{"/b"}, `{ "b" : ` + digest("1") + ` , "a":"s" }`, []string{"/b"}},
		{"nested", `{"a":{"b":[1,{"c":"x"}]}}`, []string{"/a/b/1/c"}, `{"a":{"b":[1,{"c":` + digest(`"x"`) + `}]}}`, []string{"/a/b/1/c"}},
		{"canonical form of an object", `{"a":{"z":1.0,"y":"\u0041"}}`, []string{"/a"}, `{"a":` + digest(`{"y":"A","z":1}`) + `}`, []string{"/a"}},
		{"equal values, equal digests", `[10, 1e1]`, []string{"/0", "/1"}, `[` + digest("10") + `, ` + digest("10") + `]`, []string{"/0", "/1"}},
		{"missing is skipped", `{"a":1}`, []string{"/b", "/a/b", "/a"}, `{"a":` + digest("1") + `}`, []string{"/a"}},
		{"nothing found", ` {"a":1} `, []string{"/b"}, ` {"a":1} `, nil},
		{"index past the end", `[1]`, []string{"/1", "/-", "/00", "/+0"}, `[1]`, nil},
		{"index is a name in an object", `{"0":1}`, []string{"/0"}, `{"0":` + digest("1") + `}`, []string{"/0"}},
		{"escapes", `{"a/b":1,"m~n":2,"~1":3}`, []string{"/a~1b", "/m~0n", "/~01"}, `{"a/b":` + digest("1") + `,"m~n":` + digest("2") + `,"~1":` + digest("3") + `}`, []string{"/a~1b", "/m~0n", "/~01"}},
		{"escaped name in the text", `{"\u0061":1}`, []string{"/a"}, `{"\u0061":` + digest("1") + `}`, []string{"/a"}},
		{"empty name", `{"":1}`, []string{"/"}, `{"":` + digest("1") + `}`, []string{"/"}},
		{"the whole", " [1, 2]\n", []string{""}, " " + digest("[1,2]") + "\n", []string{""}},
		{"outer covers inner", `{"a":{"b":1,"c":2}}`, []string{"/a/b", "/a", "/a/x"}, `{"a":` + digest(`{"b":1,"c":2}`) + `}`, []string{"/a/b", "/a"}},
		{"given twice", `{"a":1}`, []string{"/a", "/a"}, `{"a":` + digest("1") + `}`, []string{"/a"}},
		{"null", `{"a":null}`, []string{"/a"}, `{"a":` + digest("null") + `}`, []string{"/a"}},
		{"empty containers", `{"a":{},"b":[]}`, []string{"/a/x", "/b/0", "/a", "/b"}, `{"a":` + digest("{}") + `,"b":` + digest("[]") + `}`, []string{"/a", "/b"}},
	} {
		masked, found, err := audit.Mask(json.RawMessage(c.input), c.pointers, maskKey)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(masked) != c.want || !reflect.DeepEqual(found, c.found) {
			t.Errorf("%s:\n got %s, found %q\nwant %s, found %q", c.name, masked, found, c.want, c.found)
		}
	}
}

func TestMaskKeyMatters(t *testing.T) {
	one, _, err := audit.Mask(json.RawMessage(`[1]`), []string{"/0"}, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := audit.Mask(json.RawMessage(`[1]`), []string{"/0"}, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) {
		t.Error("two keys give one digest")
	}
	if _, _, err := audit.Mask(json.RawMessage(`[1]`), []string{"/0"}, nil); err == nil {
		t.Error("an empty key is taken")
	}
}

func TestMaskRefuses(t *testing.T) {
	for _, c := range []struct{ name, input, pointer string }{
		{"pointer without slash", `{}`, "a"},
		{"bare tilde", `{}`, "/a~"},
		{"unknown escape", `{}`, "/~2"},
		{"nothing", ``, "/a"},
		{"spaces", ` `, "/a"},
		{"cut short", `{"a":1`, "/a"},
		{"cut inside the value", `{"a":[1,`, "/a"},
		{"two values", `{"a":1} {}`, "/a"},
		{"trailing garbage", `{"a":1}x`, "/a"},
		{"duplicate name", `{"a":1,"a":2}`, "/a"},
		{"duplicate name elsewhere", `{"a":1,"b":{"c":1,"c":2}}`, "/a"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "/a"},
		{"NaN", `{"a":NaN}`, "/a"},
		{"mismatched end", `{"a":[1}`, "/a/0"},
		{"deep", strings.Repeat("[", 1<<20), "/0"},
	} {
		if masked, _, err := audit.Mask(json.RawMessage(c.input), []string{c.pointer}, maskKey); !errors.Is(err, audit.ErrFormat) {
			t.Errorf("%s: %.60s, %v, want ErrFormat", c.name, masked, err)
		}
	}
}

// anyJSON draws JSON texts with spaces in odd places.
func anyJSON(depth int) *rapid.Generator[string] {
	name := rapid.SampledFrom([]string{"a", "b", "/", "~", "", "0", "ü"})
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", " ", "\n\t"})
		kinds := 4
		if depth > 0 {
			kinds = 6
		}
		s := space.Draw(t, "before")
		switch rapid.IntRange(1, kinds).Draw(t, "kind") {
		case 1:
			s += rapid.SampledFrom([]string{"0", "-0", "1.50", "1e3", "12345678901234567890"}).Draw(t, "number")
		case 2:
			s += rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "literal")
		case 3, 4:
			b, err := jsontext.AppendQuote(nil, rapid.String().Draw(t, "string"))
			if err != nil {
				t.Fatal(err)
			}
			s += string(b)
		case 5:
			s += "[" + strings.Join(rapid.SliceOfN(anyJSON(depth-1), 0, 4).Draw(t, "items"), ",") + space.Draw(t, "end") + "]"
		case 6:
			var members []string
			for _, n := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID).Draw(t, "names") {
				b, err := jsontext.AppendQuote(nil, n)
				if err != nil {
					t.Fatal(err)
				}
				members = append(members, space.Draw(t, "before name")+string(b)+space.Draw(t, "colon")+":"+anyJSON(depth-1).Draw(t, "member"))
			}
			s += "{" + strings.Join(members, ",") + "}"
		}
		return s + space.Draw(t, "after")
	})
}

// lookup resolves a pointer over decoded JSON: another way to the same value.
func lookup(v any, pointer string) (any, bool) {
	if pointer == "" {
		return v, true
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch x := v.(type) {
		case map[string]any:
			child, ok := x[token]
			if !ok {
				return nil, false
			}
			v = child
		case []any:
			i := slices.Index([]string{"0", "1", "2", "3"}, token)
			if i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func TestMaskAgainstDecodedJSON(t *testing.T) {
	token := rapid.SampledFrom([]string{"a", "b", "~1", "~0", "", "0", "1", "ü"})
	rapid.Check(t, func(t *rapid.T) {
		input := anyJSON(3).Draw(t, "input")
		var pointers []string
		for _, tokens := range rapid.SliceOfN(rapid.SliceOfN(token, 0, 3), 1, 4).Draw(t, "pointers") {
			p := ""
			for _, tok := range tokens {
				p += "/" + tok
			}
			pointers = append(pointers, p)
		}
		masked, found, err := audit.Mask(json.RawMessage(input), pointers, maskKey)
		if err != nil {
			t.Fatal(err)
		}
		var before, after any
		if err := json.Unmarshal([]byte(input), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(masked, &after); err != nil {
			t.Fatalf("%s is not JSON: %v", masked, err)
		}
		for _, p := range pointers {
			_, there := lookup(before, p)
			if there != slices.Contains(found, p) {
				t.Fatalf("%q is there: %v, found %q", p, there, found)
			}
			if !there {
				continue
			}
			// It, or something around it, is a digest now.
			got, ok := lookup(after, p)
			text, _ := got.(string)
			if ok && !strings.HasPrefix(text, "hmac-sha256:") {
				t.Fatalf("%q is still there in %s", p, masked)
			}
		}
		// Cutting the digests out leaves pieces of the input in their order.
		rest := input
		for i, piece := range digestPattern(string(masked)) {
			at := strings.Index(rest, piece)
			if at < 0 || (i == 0 && at != 0) {
				t.Fatalf("%q of %s is not in what is left of the input, %q", piece, masked, rest)
			}
			rest = rest[at+len(piece):]
		}
	})
}

// digestPattern splits a text at its digests.
func digestPattern(s string) (pieces []string) {
	const prefix = `"hmac-sha256:`
	for {
		i := strings.Index(s, prefix)
		if i < 0 {
			return append(pieces, s)
		}
		pieces = append(pieces, s[:i])
		s = s[i+len(prefix)+64+1:]
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2]},"c/d":null}`), "/a/b/1", "/c~1d")
	f.Add([]byte(` [1.0, "\u0041"] `), "", "/1")
	f.Add([]byte(`{"a":1,"a":2}`), "/a", "/~0")
	f.Fuzz(func(t *testing.T, input []byte, one, two string) {
		masked, found, err := audit.Mask(input, []string{one, two}, maskKey)
		if err != nil {
			if !errors.Is(err, audit.ErrFormat) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if !jsontext.Value(input).IsValid() || !jsontext.Value(masked).IsValid() {
			t.Fatalf("%q became %q", input, masked)
		}
		if len(found) == 0 && !bytes.Equal(input, masked) {
			t.Fatal("nothing was found but something has changed")
		}
		again, foundAgain, err := audit.Mask(input, []string{one, two}, maskKey)
		if err != nil || !bytes.Equal(masked, again) || !slices.Equal(found, foundAgain) {
			t.Fatal("masking the same input again gives something else")
		}
	})
}
