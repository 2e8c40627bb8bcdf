package policy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// InvalidError lists why content was refused; there is always at least one
// reason. It matches ErrInvalidRego.
type InvalidError struct {
	Errors []ContentError
}

func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Errors))
	for _, c := range e.Errors {
		where := fmt.Sprintf("%d:%d", c.Location.Row, c.Location.Col)
		if name := cmp.Or(c.Policy, c.File); name != "" {
			where = name + ":" + where
		}
		lines = append(lines, where+": "+c.Message)
	}
	return "invalid rego: " + strings.Join(lines, "; ")
}

// Is matches ErrInvalidRego.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalidRego }

// ConflictError says that policies of a set contradict each other whatever the
// input. It matches ErrConflict.
type ConflictError struct {
	// Rule is the full path of the rule, such as data.caracal.authz.result.
	Rule string
	// Policies names the policies that conflict, in the order of the set.
	Policies []string
	// Message says how they conflict, naming the policies.
	Message string
	// Locations has the place in each policy's content, parallel to Policies.
	Locations []Location
}

func (e *ConflictError) Error() string { return "policies conflict: " + e.Message }

// Is matches ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// contentErrors turns OPA's errors into ours. name is the policy they are
// about where the errors do not say.
func contentErrors(err error, name string) []ContentError {
	var list ast.Errors
	var one *ast.Error
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = ast.Errors{one}
	default:
		return []ContentError{{Message: err.Error(), Location: location(nil), Policy: name}}
	}
	out := make([]ContentError, 0, len(list))
	for _, e := range list {
		c := ContentError{Message: e.Message, Location: location(e.Location), Policy: name}
		if e.Location != nil && e.Location.File != "" {
			c.Policy = e.Location.File
		}
		if function, ok := strings.CutPrefix(e.Message, "undefined function data."+Package+"."); ok {
			c.Message = fmt.Sprintf("undefined function data.%s.%s: a policy may read rules of other policies, but the functions it calls must be its own", Package, function)
		}
		out = append(out, c)
	}
	return out
}
