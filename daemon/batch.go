package daemon

import (
	"encoding/json"
	"errors"
	"io"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// invalidBody is a body of the wrong shape; the error names the field.
func invalidBody(err error) *problem {
	var semantic *jsonx.SemanticError
	var syntactic *jsontext.SyntacticError
	where := "the body"
	switch {
	case errors.As(err, &syntactic):
		if syntactic.JSONPointer != "" {
			where = string(syntactic.JSONPointer)
		}
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "%s is not valid JSON at byte %d: %v", where, syntactic.ByteOffset, syntactic.Err)
	case errors.As(err, &semantic):
		if semantic.JSONPointer != "" {
			where = string(semantic.JSONPointer)
		}
		if semantic.Err != nil {
			return refuse(fasthttp.StatusBadRequest, "invalid_body", "%s is wrong: %v", where, semantic.Err)
		}
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "%s has the wrong type", where)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "the body ends too early")
	}
	return refuse(fasthttp.StatusBadRequest, "invalid_body", "the body is wrong: %v", err)
}

// handleBatch decides several inputs. Each is a decision of its own, with its
// own record; an input that is refused has the refusal in its place. Where a record
// cannot be kept, all of the call is refused, as a call for one decision is.
func (d *Daemon) handleBatch(ctx *fasthttp.RequestCtx, rq *request) *problem {
	var body struct {
		Inputs []jsontext.Value `json:"inputs"`
	}
	if p := d.readBody(ctx, &body); p != nil {
		return p
	}
	switch n := len(body.Inputs); {
	case body.Inputs == nil:
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "/inputs is required")
	case n > d.cfg.MaxBatch:
		return refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "/inputs has %d inputs; at most %d are accepted", n, d.cfg.MaxBatch)
	}
	answers := d.decideAll(rq, body.Inputs)
	for _, out := range answers {
		if out.problem == unkept {
			return unkept
		}
	}
	b := append(make([]byte, 0, 512*(len(body.Inputs)+1)), `{"results":[`...)
	for i, out := range answers {
		if i > 0 {
			b = append(b, ',')
		}
		if out.problem != nil {
			data, err := json.Marshal(out.problem.body())
			if err != nil {
				return refuse(fasthttp.StatusInternalServerError, "internal_error", "an answer could not be encoded")
			}
			b = append(b, data...)
			continue
		}
		b = out.appendAnswer(b, rq)
	}
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(append(b, `]}`...))
	return nil
}

// readBody reads the JSON of a call with several inputs.
func (d *Daemon) readBody(ctx *fasthttp.RequestCtx, into any) *problem {
	data := ctx.PostBody()
	if len(data) > d.cfg.MaxBatchBytes {
		return refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "the body has %d bytes; at most %d are accepted", len(data), d.cfg.MaxBatchBytes)
	}
	if err := jsonx.Unmarshal(data, into); err != nil {
		return invalidBody(err)
	}
	return nil
}
