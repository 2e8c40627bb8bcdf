package daemon

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// handleData answers in the shape of OPA's data API: {"input":...} gives
// {"result":...,"decision_id":...}.
func (d *Daemon) handleData(ctx *fasthttp.RequestCtx, rq *request) *problem {
	var body struct {
		Input jsontext.Value `json:"input"`
	}
	if p := d.readBody(ctx, &body); p != nil {
		return p
	}
	if body.Input == nil {
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "/input is required")
	}
	out, p := d.decide(rq, bytes.TrimSpace(body.Input))
	if p != nil {
		return p
	}
	b := append(make([]byte, 0, 1024), `{"result":{`...)
	b = out.AppendJSON(b)
	b = append(b, `},"decision_id":"`...)
	b = append(b, out.id[:]...)
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(append(b, `"}`...))
	return nil
}
