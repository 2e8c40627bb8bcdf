package daemon

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/policy"
)

// object is a JSON object whose values are passed on as they are.
type object map[string]jsontext.Value

// entity is a subject or resource of OpenID AuthZEN's Authorization API 1.0.
type entity struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Properties object `json:"properties"`
}

type action struct {
	Name       string `json:"name"`
	Properties object `json:"properties"`
}

// evaluation is one access evaluation request. In a list of them, what is
// absent is taken from the request around it.
type evaluation struct {
	Subject  *entity `json:"subject"`
	Resource *entity `json:"resource"`
	Action   *action `json:"action"`
	Context  object  `json:"context"`
}

// input maps an evaluation onto the input document:
//
//   - subject: principal.type and principal.id; its properties are the other
//     fields of principal, zone_id among them, which context.zone_id may give instead.
//   - resource: resource.type and resource.id; its properties are the other
//     fields of resource. identifier is the id and scopes is empty where they are absent.
//   - action: action.id is its name; its properties are the other fields of action.
//   - context: the context; session and delegation_edge in it are those of the
//     input. requested_scopes may be among the action's properties instead.
//     actor_claims, challenge_resolved and requested_scopes are {}, false and []
//     where they are absent.
func (e evaluation) input() (json.RawMessage, *problem) {
	missing := func(field string) *problem {
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "%s is required", field)
	}
	switch {
	case e.Subject == nil:
		return nil, missing("/subject")
	case e.Resource == nil:
		return nil, missing("/resource")
	case e.Action == nil:
		return nil, missing("/action")
	case e.Subject.Type == "":
		return nil, missing("/subject/type")
	case e.Subject.ID == "":
		return nil, missing("/subject/id")
	case e.Resource.Type == "":
		return nil, missing("/resource/type")
	case e.Resource.ID == "":
		return nil, missing("/resource/id")
	case e.Action.Name == "":
		return nil, missing("/action/name")
	}
	context := maps.Clone(e.Context)
	if context == nil {
		context = object{}
	}
	take := func(from object, name string) jsontext.Value {
		v := from[name]
		delete(from, name)
		return v
	}
	or := func(into object, name string, values ...jsontext.Value) {
		for _, v := range append([]jsontext.Value{into[name]}, values...) {
			if v != nil {
				into[name] = v
				return
			}
		}
	}
	principal, resource, act := object{}, object{}, object{}
	maps.Copy(principal, e.Subject.Properties)
	maps.Copy(resource, e.Resource.Properties)
	maps.Copy(act, e.Action.Properties)
	zone := take(context, "zone_id")
	or(principal, "zone_id", zone)
	or(context, "actor_claims", jsontext.Value("{}"))
	or(context, "challenge_resolved", jsontext.Value("false"))
	or(context, "requested_scopes", take(act, "requested_scopes"), jsontext.Value("[]"))
	principal["type"], principal["id"] = text(e.Subject.Type), text(e.Subject.ID)
	resource["type"], resource["id"] = text(e.Resource.Type), text(e.Resource.ID)
	or(resource, "identifier", resource["id"])
	or(resource, "scopes", jsontext.Value("[]"))
	act["id"] = text(e.Action.Name)
	doc := object{"schema_version": text(policy.InputSchemaVersion), "session": take(context, "session"), "delegation_edge": take(context, "delegation_edge")}
	or(doc, "session", jsontext.Value("null"))
	or(doc, "delegation_edge", jsontext.Value("null"))
	for name, part := range map[string]object{"principal": principal, "resource": resource, "action": act, "context": context} {
		data, err := jsonx.Marshal(part, jsonx.Deterministic(true))
		if err != nil {
			return nil, refuse(fasthttp.StatusBadRequest, "invalid_body", "/%s cannot be mapped: %v", name, err)
		}
		doc[name] = data
	}
	data, err := jsonx.Marshal(doc, jsonx.Deterministic(true))
	if err != nil {
		return nil, refuse(fasthttp.StatusBadRequest, "invalid_body", "the request cannot be mapped: %v", err)
	}
	return json.RawMessage(data), nil
}

// text is a string as JSON.
func text(s string) jsontext.Value {
	data, err := jsontext.AppendQuote(nil, s)
	if err != nil { // the reader refuses invalid UTF-8
		return jsontext.Value(`""`)
	}
	return data
}

// evaluated is the answer to one evaluation.
type evaluated struct {
	Decision bool `json:"decision"`
	Context  any  `json:"context"`
}

// evaluatedContext says what made a decision.
type evaluatedContext struct {
	DecisionID          string          `json:"decision_id"`
	RequestID           string          `json:"request_id"`
	EvaluationStatus    string          `json:"evaluation_status"`
	DeterminingPolicies json.RawMessage `json:"determining_policies"`
	Diagnostics         json.RawMessage `json:"diagnostics"`
	PolicySetVersionID  *string         `json:"policy_set_version_id"`
	ManifestSHA256      string          `json:"manifest_sha256"`
	BundleSHA256        string          `json:"bundle_sha256"`
}

// evaluateOne decides one evaluation.
func (d *Daemon) evaluateOne(rq *request, e evaluation) (evaluated, *problem) {
	raw, p := e.input()
	if p != nil {
		return evaluated{}, p
	}
	out, p := d.decide(rq, raw)
	if p != nil {
		return evaluated{}, p
	}
	at := out.snap.pointer
	return evaluated{Decision: out.Decision == policy.Allow, Context: evaluatedContext{
		DecisionID: string(out.id[:]), RequestID: rq.id, EvaluationStatus: out.EvaluationStatus, DeterminingPolicies: out.DeterminingPolicies, Diagnostics: out.Diagnostics,
		PolicySetVersionID: at.PolicySetVersionID, ManifestSHA256: at.ManifestSHA256, BundleSHA256: at.BundleSHA256,
	}}, nil
}

func (d *Daemon) handleEvaluation(ctx *fasthttp.RequestCtx, rq *request) *problem {
	var e evaluation
	if p := d.readBody(ctx, &e); p != nil {
		return p
	}
	out, p := d.evaluateOne(rq, e)
	if p != nil {
		return p
	}
	return answerJSON(ctx, out)
}

// Semantics of several evaluations.
const (
	executeAll          = "execute_all"
	denyOnFirstDeny     = "deny_on_first_deny"
	permitOnFirstPermit = "permit_on_first_permit"
)

// failedContext is the context of an evaluation that was refused.
type failedContext struct {
	Error struct {
		Status  int    `json:"status"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (d *Daemon) handleEvaluations(ctx *fasthttp.RequestCtx, rq *request) *problem {
	var body struct {
		evaluation
		Evaluations []evaluation `json:"evaluations"`
		Options     struct {
			Semantic string `json:"evaluations_semantic"`
		} `json:"options"`
	}
	if p := d.readBody(ctx, &body); p != nil {
		return p
	}
	if len(body.Evaluations) == 0 { // the standard makes it a single evaluation
		out, p := d.evaluateOne(rq, body.evaluation)
		if p != nil {
			return p
		}
		return answerJSON(ctx, out)
	}
	if body.Options.Semantic == "" {
		body.Options.Semantic = executeAll
	}
	if known := []string{executeAll, denyOnFirstDeny, permitOnFirstPermit}; !slices.Contains(known, body.Options.Semantic) {
		return refuse(fasthttp.StatusBadRequest, "invalid_body", "/options/evaluations_semantic must be one of %v", known)
	}
	if n := len(body.Evaluations); n > d.cfg.MaxBatch {
		return refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "/evaluations has %d evaluations; at most %d are accepted", n, d.cfg.MaxBatch)
	}
	results := make([]evaluated, len(body.Evaluations))
	one := func(i int) {
		out, p := d.evaluateOne(rq, body.Evaluations[i].within(body.evaluation))
		if p != nil {
			out = failed(p)
		}
		results[i] = out
	}
	crashed := func(i int, p *problem) { results[i] = failed(p) }
	if body.Options.Semantic == executeAll {
		// That they are in flight together lets their records share one fsync.
		d.sideBySide(rq, len(results), max(16, 4*runtime.GOMAXPROCS(0)), one, crashed)
	} else {
		until := body.Options.Semantic == permitOnFirstPermit
		for i := range results {
			if one(i); results[i].Decision == until {
				results = results[:i+1]
				break
			}
		}
	}
	return answerJSON(ctx, map[string][]evaluated{"evaluations": results})
}

// failed is the result of an evaluation that was refused: it denies.
func failed(p *problem) evaluated {
	var c failedContext
	c.Error.Status, c.Error.Code, c.Error.Message = p.status, p.code, p.reason
	return evaluated{Context: c}
}

// within fills in what an evaluation leaves to the request around it.
func (e evaluation) within(around evaluation) evaluation {
	if e.Subject == nil {
		e.Subject = around.Subject
	}
	if e.Resource == nil {
		e.Resource = around.Resource
	}
	if e.Action == nil {
		e.Action = around.Action
	}
	if e.Context == nil {
		e.Context = around.Context
	}
	return e
}

func answerJSON(ctx *fasthttp.RequestCtx, v any) *problem {
	data, err := json.Marshal(v)
	if err != nil {
		return refuse(fasthttp.StatusInternalServerError, "internal_error", "the answer could not be encoded: %v", err)
	}
	writeJSON(ctx, data)
	return nil
}
