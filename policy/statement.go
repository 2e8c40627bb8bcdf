package policy

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// maxConditionText is the most characters of a condition that are given.
const maxConditionText = 500

// conditionAt finds what is written at the place of a compiled expression. The
// compiler makes several expressions of one that is written, and others of a rule's
// head; each keeps the place that it is from. part is the rule, or the else branch, as
// it was written.
func conditionAt(part *ast.Rule, at *ast.Location) *FailedCondition {
	if only := unbracedElse(part); only != nil {
		if end := only.Offset + len(only.Text); at == nil || at.Offset == part.Location.Offset || at.Offset >= only.Offset && at.Offset < end {
			return conditionOf(only)
		}
	}
	if at == nil {
		return headOf(part)
	}
	for _, expr := range part.Body {
		if loc := expr.Location; loc != nil && loc.Offset <= at.Offset && at.Offset < loc.Offset+len(loc.Text) {
			return conditionOf(loc)
		}
	}
	if len(at.Text) == 0 || at.Offset == part.Location.Offset {
		return headOf(part)
	}
	return conditionOf(at)
}

// unbracedElse is the place of the body of "else := value if condition", whose
// expressions the parser places where the branch begins; nil for other rules.
func unbracedElse(part *ast.Rule) *ast.Location {
	begin := part.Location
	if len(part.Body) != 1 || begin == nil || !bytes.HasPrefix(begin.Text, []byte("else")) || part.Body[0].Location == nil || part.Body[0].Location.Offset != begin.Offset {
		return nil
	}
	text := begin.Text
	if next := part.Else; next != nil && next.Location != nil && next.Location.Offset > begin.Offset {
		text = text[:min(len(text), next.Location.Offset-begin.Offset)]
	}
	skip := len("else")
	if head := part.Head.Location; head != nil && head.Offset == begin.Offset && len(head.Text) < len(text) {
		skip = max(skip, len(head.Text))
	}
	rest := bytes.TrimLeft(text[skip:], " \t\r\n")
	body, found := bytes.CutPrefix(rest, []byte("if"))
	if !found {
		return nil // without a body the branch always holds
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	skip = len(text) - len(body)
	loc := &ast.Location{File: begin.File, Row: begin.Row, Col: begin.Col, Offset: begin.Offset + skip, Text: bytes.TrimRight(body, " \t\r\n")}
	before := text[:skip]
	if lines := bytes.Count(before, []byte("\n")); lines > 0 {
		loc.Row += lines
		loc.Col = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	} else {
		loc.Col += utf8.RuneCount(before)
	}
	return loc
}

// headOf is the head of a rule as a condition: that what is asked for is what it gives.
func headOf(part *ast.Rule) *FailedCondition {
	loc := part.Head.Location
	if loc == nil || len(loc.Text) == 0 {
		loc = part.Location
	}
	return conditionOf(loc)
}

func conditionOf(loc *ast.Location) *FailedCondition {
	if loc == nil {
		return &FailedCondition{Location: location(nil)}
	}
	return &FailedCondition{Location: location(loc), Text: beginning(strings.TrimSpace(string(loc.Text)), maxConditionText)}
}

// beginning cuts a text after so many characters.
func beginning(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}
