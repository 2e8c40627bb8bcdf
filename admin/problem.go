package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/policy"
)

// problem is a refusal that the caller is told of.
type problem struct {
	status int
	code   string
	reason string
	errors []policy.ContentError
}

func (p *problem) Error() string { return p.code + ": " + p.reason }

func (p *problem) body() api.Error {
	return api.Error{Code: p.code, Description: p.reason, Errors: p.errors}
}

// refuse makes a problem.
func refuse(status int, code, format string, args ...any) *problem {
	return &problem{status: status, code: code, reason: fmt.Sprintf(format, args...)}
}

// invalidBody is a body, or part of one, of the wrong shape. field is a JSON
// pointer, "" for the whole.
func invalidBody(field, format string, args ...any) *problem {
	reason := fmt.Sprintf(format, args...)
	if field == "" {
		field = "the body"
	}
	return refuse(http.StatusBadRequest, "invalid_body", "%s %s", field, reason)
}

// invalidQuery is a query parameter of the wrong shape.
func invalidQuery(name, format string, args ...any) *problem {
	return refuse(http.StatusBadRequest, "invalid_query", "%s %s", name, fmt.Sprintf(format, args...))
}

// missing turns store.ErrNotFound into the 404 of what was looked for, such as
// "policy"; it gives other errors back as they are.
func missing(err error, what, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return refuse(http.StatusNotFound, what+"_not_found", "there is no %s %.128s here", what, id)
	}
	return err
}
