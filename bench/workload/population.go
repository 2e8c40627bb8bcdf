package workload

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
)

// The spread of inputs: many principals of which few ask most, some resources,
// and one request in ten that is denied.
const (
	Principals  = 10000
	Resources   = 200
	ZipfS       = 1.1
	DenialShare = 0.1
)

var (
	// Areas are the parts of the house that resources belong to.
	Areas = []string{"payments", "ledger", "reports", "agents"}
	// Kinds are the types of resources.
	Kinds = []string{"service", "dataset", "queue", "model"}
	// Roles, each of which includes those before it.
	Roles = []string{"reader", "writer", "operator"}
	// Scopes that resources have. The scope "purge" exists nowhere.
	Scopes = []string{"read", "list", "write", "refund"}
	// Apps are the registered applications.
	Apps = []string{"app-console", "app-ledger", "app-reports", "app-agents", "app-mobile", "app-batch", "app-partner", "app-support"}
)

// Principal is one of those who ask.
type Principal struct {
	ID    string
	App   string
	Level int // index of the highest of its Roles
	// Area is what its labels confine it to, "" where they do not.
	Area      string
	Delegated bool
	Session   string

	head   []byte // the input up to the zone's id
	cerbos []byte // the same of a request to Cerbos
	tail   []byte // the rest of the principal
}

// Resource is one of those that are asked for.
type Resource struct {
	ID, Kind, Area, Identifier string

	text   []byte // the member resource of the input
	cerbos []byte // the resource of a request to Cerbos, up to its further attributes
}

// Request is what one input asks.
type Request struct {
	Principal *Principal
	Resource  *Resource
	Client    string
	Scopes    []string
	// Edge is nil where the principal acts for itself.
	Edge []string
}

// principals are made when the first input is: servers have none.
var principals = sync.OnceValue(func() []Principal {
	all := make([]Principal, Principals)
	for i := range all {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		p := &all[i]
		*p = Principal{
			ID: fmt.Sprintf("p-%05d", i), App: Apps[r.IntN(len(Apps))], Level: r.IntN(len(Roles)),
			Delegated: r.IntN(10) < 7, Session: fmt.Sprintf("s-%08x", r.Uint32()),
		}
		labels := []string{}
		for _, role := range Roles[:p.Level+1] {
			labels = append(labels, "role:"+role)
		}
		if r.IntN(10) == 0 {
			p.Area = Areas[r.IntN(len(Areas))]
			labels = append(labels, "confine:"+p.Area+"/eu-1")
		}
		labels = append(labels, "env:production")
		p.head = fmt.Appendf(nil, `{"schema_version":"2026-05-20","principal":{"type":"agent","id":%q,"zone_id":"`, p.ID)
		p.tail = fmt.Appendf(nil, `","registration_method":"managed","agent_session_id":%q,"lifecycle":"task","labels":%s},`, p.Session, list(labels))
		p.cerbos = fmt.Appendf(nil, `{"principal":{"id":%q,"roles":%s,"attr":{"type":"agent","zone_id":"`, p.ID, list(Roles[:p.Level+1]))
	}
	return all
})

var resources = func() []Resource {
	all := make([]Resource, Resources)
	for i := range all {
		area, kind := Areas[i%len(Areas)], Kinds[i/len(Areas)%len(Kinds)]
		all[i] = newResource(i, area, kind)
	}
	return all
}()

func newResource(i int, area, kind string) Resource {
	res := Resource{ID: fmt.Sprintf("res-%05d", i), Kind: kind, Area: area, Identifier: fmt.Sprintf("urn:caracal:%s:%s:%05d", area, kind, i)}
	res.text = fmt.Appendf(nil, `"resource":{"type":%q,"id":%q,"identifier":%q,"scopes":%s},`, res.Kind, res.ID, res.Identifier, list(Scopes))
	res.cerbos = fmt.Appendf(nil, `{"kind":%q,"id":%q,"attr":{"identifier":%q,"scopes":%s,`, res.Kind, res.ID, res.Identifier, list(Scopes))
	return res
}

// suspended principals are denied everything; they ask rarely.
var suspended = []string{"p-07001", "p-07013", "p-08209", "p-09500"}

// principal picks who asks: few of them ask most.
func (s *Source) principal() *Principal {
	all := principals()
	for {
		p := &all[s.zipf.Uint64()]
		if !slices.Contains(suspended, p.ID) {
			return p
		}
	}
}

// AppendJSON appends the input document, with ids that no other has.
func (q *Request) AppendJSON(dst []byte, zone string, r *rand.Rand) []byte {
	dst = append(dst, q.Principal.head...)
	dst = append(dst, zone...)
	dst = append(dst, q.Principal.tail...)
	dst = append(dst, q.Resource.text...)
	dst = append(dst, `"action":{"id":"token:exchange","method":"POST","path":"/oauth/token"},`...)
	return append(q.appendCircumstances(dst, r), '}')
}

// appendCircumstances appends the members session, delegation_edge and context.
func (q *Request) appendCircumstances(dst []byte, r *rand.Rand) []byte {
	p := q.Principal
	dst = append(dst, `"session":{"id":"`...)
	dst = append(dst, p.Session...)
	dst = append(dst, `"},"delegation_edge":`...)
	if q.Edge == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, `{"id":"edge-`...)
		dst = append(dst, p.ID...)
		dst = append(dst, `","source_session_id":"s-root","target_session_id":"`...)
		dst = append(dst, p.Session...)
		dst = append(dst, `","issuer_application_id":"app-issuer","receiver_application_id":"`...)
		dst = append(dst, p.App...)
		dst = append(dst, `","resource_id":"`...)
		dst = append(dst, q.Resource.ID...)
		dst = append(dst, `","scopes":`...)
		dst = appendList(dst, q.Edge)
		dst = append(dst, `,"edge_version":3,"path":["app-issuer"],"graph_epoch":12,"constraints_json":"{}"}`...)
	}
	dst = append(dst, `,"context":{"actor_claims":{"iss":"https://sts.example","client_id":"`...)
	dst = append(dst, q.Client...)
	dst = append(dst, `"},"challenge_resolved":false,"requested_scopes":`...)
	dst = appendList(dst, q.Scopes)
	dst = append(dst, `,"subject_claims":{"sub":"`...)
	dst = append(dst, p.ID...)
	dst = append(dst, `"},"trace_id":"`...)
	dst = AppendID(dst, r)
	dst = append(dst, `","session_id":"`...)
	dst = append(dst, p.Session...)
	return append(dst, `"}`...)
}

// AppendID appends 32 random hexadecimal digits.
func AppendID(dst []byte, r *rand.Rand) []byte {
	var id [16]byte
	a, b := r.Uint64(), r.Uint64()
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return hex.AppendEncode(dst, id[:])
}

func appendList(dst []byte, items []string) []byte {
	dst = append(dst, '[')
	for i, s := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendQuote(dst, s)
	}
	return append(dst, ']')
}

func list(items []string) string { return string(appendList(nil, items)) }
