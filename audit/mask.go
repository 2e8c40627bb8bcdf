package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maskPrefix begins what stands in the place of a masked value.
const maskPrefix = "hmac-sha256:"

// Mask replaces the values that RFC 6901 pointers name in a JSON text by a
// keyed digest: the string "hmac-sha256:" and the lower-case hex of
// HMAC-SHA-256(key, the value's RFC 8785 canonical form). Equal values give
// equal digests under one key, wherever they stand. All other bytes stay as
// they are. It returns the pointers that were found, in the order given, each
// once; a pointer to nothing is skipped, and one inside another masked value
// is covered by it and still found. The empty pointer is the whole text.
//
// With no pointers the input is returned as it is, not parsed. ErrFormat tells
// of a malformed pointer, or of an input that is not JSON, repeats a name or
// is not UTF-8. The key must not be empty.
func Mask(input json.RawMessage, pointers []string, key []byte) (masked json.RawMessage, found []string, err error) {
	if len(pointers) == 0 {
		return input, nil, nil
	}
	if len(key) == 0 {
		return nil, nil, errors.New("masking input: the key is empty")
	}
	m := masker{decoder: jsontext.NewDecoder(bytes.NewReader(input)), hits: make([]bool, len(pointers))}
	root := new(maskNode)
	for i, p := range pointers {
		if err := root.add(p, i); err != nil {
			return nil, nil, fmt.Errorf("masking input: %w", err)
		}
	}
	if err := m.value(root, false); err != nil {
		return nil, nil, fmt.Errorf("masking input: %w: %w", ErrFormat, err)
	}
	// What follows the value must be nothing.
	if m.decoder.PeekKind() != 0 || len(bytes.Trim(input[m.decoder.InputOffset():], " \t\r\n")) != 0 {
		return nil, nil, fmt.Errorf("masking input: %w: something follows the JSON value", ErrFormat)
	}

	seen := make(map[string]bool, len(pointers))
	for i, p := range pointers {
		if m.hits[i] && !seen[p] {
			seen[p] = true
			found = append(found, p)
		}
	}
	if len(m.spans) == 0 {
		return input, nil, nil
	}
	out := make([]byte, 0, len(input)+len(m.spans)*(len(maskPrefix)+2*sha256.Size+2))
	last := int64(0)
	for _, s := range m.spans {
		out = append(out, input[last:s.start]...)
		if out, err = appendDigest(out, input[s.start:s.end], key); err != nil {
			return nil, nil, fmt.Errorf("masking input: %w: %w", ErrFormat, err)
		}
		last = s.end
	}
	return append(out, input[last:]...), found, nil
}

func appendDigest(dst, value, key []byte) ([]byte, error) {
	canonical := jsontext.Value(bytes.Clone(value))
	if err := canonical.Canonicalize(); err != nil {
		return dst, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(canonical)
	dst = append(dst, '"')
	dst = append(dst, maskPrefix...)
	dst = hex.AppendEncode(dst, mac.Sum(nil))
	return append(dst, '"'), nil
}

// maskNode is a tree of the pointers' reference tokens.
type maskNode struct {
	// pointers are the indexes of the pointers that end here.
	pointers []int
	children map[string]*maskNode
}

func (n *maskNode) add(pointer string, index int) error {
	if pointer != "" && pointer[0] != '/' {
		return fmt.Errorf("%w: JSON pointer %q does not begin with a slash", ErrFormat, pointer)
	}
	if pointer != "" {
		for token := range strings.SplitSeq(pointer[1:], "/") {
			name, err := unescapeToken(token)
			if err != nil {
				return fmt.Errorf("JSON pointer %q: %w", pointer, err)
			}
			child := n.children[name]
			if child == nil {
				child = new(maskNode)
				if n.children == nil {
					n.children = make(map[string]*maskNode)
				}
				n.children[name] = child
			}
			n = child
		}
	}
	n.pointers = append(n.pointers, index)
	return nil
}

// unescapeToken turns ~1 into a slash and ~0 into a tilde.
func unescapeToken(token string) (string, error) {
	if !strings.Contains(token, "~") {
		return token, nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '~' {
			b.WriteByte(token[i])
			continue
		}
		i++
		switch {
		case i < len(token) && token[i] == '0':
			b.WriteByte('~')
		case i < len(token) && token[i] == '1':
			b.WriteByte('/')
		default:
			return "", fmt.Errorf("%w: a tilde is followed by neither 0 nor 1", ErrFormat)
		}
	}
	return b.String(), nil
}

type span struct{ start, end int64 }

// masker walks the text once and gathers the spans to replace, in order.
type masker struct {
	decoder *jsontext.Decoder
	spans   []span
	hits    []bool
}

// value consumes the next value; n is nil where no pointer goes. Inside a
// covered value pointers are found but not replaced again.
func (m *masker) value(n *maskNode, covered bool) error {
	if n == nil {
		return m.decoder.SkipValue()
	}
	replace := len(n.pointers) > 0 && !covered
	for _, i := range n.pointers {
		m.hits[i] = true
	}
	var start int64
	kind := m.decoder.PeekKind()
	if len(n.children) > 0 && (kind == '{' || kind == '[') {
		if _, err := m.decoder.ReadToken(); err != nil {
			return err
		}
		start = m.decoder.InputOffset() - 1
		if err := m.members(n, kind, covered || replace); err != nil {
			return err
		}
	} else {
		v, err := m.decoder.ReadValue()
		if err != nil {
			return err
		}
		start = m.decoder.InputOffset() - int64(len(v))
	}
	if replace {
		m.spans = append(m.spans, span{start, m.decoder.InputOffset()})
	}
	return nil
}

// members consumes what is left of an object or array, its end included.
func (m *masker) members(n *maskNode, kind jsontext.Kind, covered bool) error {
	for index := 0; ; index++ {
		if k := m.decoder.PeekKind(); k == '}' || k == ']' {
			_, err := m.decoder.ReadToken()
			return err
		}
		name := ""
		if kind == '{' {
			token, err := m.decoder.ReadToken()
			if err != nil {
				return err
			}
			name = token.String()
		} else {
			name = strconv.Itoa(index)
		}
		if err := m.value(n.children[name], covered); err != nil {
			return err
		}
	}
}
