package client

import (
	"bytes"
	"encoding/json"
)

// The functions here walk JSON that json.Valid has accepted, so none of them can
// meet a syntax error. They are used in place of json.Unmarshal because that
// matches names without regard to case and lets the last of two members win: an
// answer with "Decision" or with two decisions must be refused, not guessed at.

// members calls f with each member of an object, the name unquoted. It gives
// false where the value is no object, and stops when f gives false.
func members(object []byte, f func(name, value []byte) bool) bool {
	object = bytes.TrimLeft(object, space)
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	rest := object[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == '}' {
			return true
		}
		n := end(rest)
		name := unquote(rest[:n])
		rest = bytes.TrimLeft(rest[n:], space+":")
		n = end(rest)
		if !f(name, rest[:n]) {
			return false
		}
		rest = rest[n:]
	}
}

// elements calls f with each element of an array. It gives false where the value
// is no array, and stops when f gives false.
func elements(array []byte, f func(value []byte) bool) bool {
	array = bytes.TrimLeft(array, space)
	if len(array) == 0 || array[0] != '[' {
		return false
	}
	rest := array[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == ']' {
			return true
		}
		n := end(rest)
		if !f(rest[:n]) {
			return false
		}
		rest = rest[n:]
	}
}

const space = " \t\r\n"

// end is the length of the value at the beginning of text.
func end(text []byte) int {
	switch text[0] {
	case '"':
		return endOfString(text)
	case '{', '[':
		depth := 0
		for i := 0; i < len(text); i++ {
			switch text[i] {
			case '"':
				i += endOfString(text[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return len(text)
	}
	if n := bytes.IndexAny(text, space+",]}"); n >= 0 {
		return n
	}
	return len(text)
}

// endOfString is the length of the string at the beginning of text, quotes included.
func endOfString(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// unquote gives a string's content: a part of text where nothing is escaped. What
// is no string gives nil.
func unquote(text []byte) []byte {
	if len(text) < 2 || text[0] != '"' {
		return nil
	}
	inner := text[1 : len(text)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return nil
	}
	return []byte(s)
}
