package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	_ "time/tzdata" // named time zones mean the same on hosts that have none of their own

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// errLocalZone keeps the host's own time zone out of decisions.
var errLocalZone = errors.New("the time zone Local is the host's; name a zone")

// inNamedZone runs f unless it would use the host's time zone. As for a zone
// that does not exist, the call is undefined then.
func inNamedZone(f topdown.BuiltinFunc) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		for _, t := range operands { // each a number, or an array of number, zone and layout
			if list, ok := t.Value.(*ast.Array); ok && list.Len() > 1 && isLocal(list.Elem(1).Value) {
				return undefined(bctx, errLocalZone)
			}
		}
		return f(bctx, operands, iter)
	}
}

// undefined makes a call undefined because of err.
func undefined(bctx topdown.BuiltinContext, err error) error {
	return &topdown.Error{Code: topdown.BuiltinErr, Message: err.Error(), Location: bctx.Location}
}

func isLocal(v ast.Value) bool { return ast.String("Local").Equal(v) }

// namedLayouts are the layouts that time.parse_ns knows by name.
var namedLayouts = map[string]string{
	"ANSIC":       time.ANSIC,
	"UnixDate":    time.UnixDate,
	"RubyDate":    time.RubyDate,
	"RFC822":      time.RFC822,
	"RFC822Z":     time.RFC822Z,
	"RFC850":      time.RFC850,
	"RFC1123":     time.RFC1123,
	"RFC1123Z":    time.RFC1123Z,
	"RFC3339":     time.RFC3339,
	"RFC3339Nano": time.RFC3339Nano,
}

// parseTime is time.parse_ns. OPA's own takes the offset of a zone abbreviation
// such as CET from the host's time zone; here every host is in UTC.
func parseTime(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	layout, ok1 := operands[0].Value.(ast.String)
	text, ok2 := operands[1].Value.(ast.String)
	if !ok1 || !ok2 {
		return undefined(bctx, errors.New("time.parse_ns: operands must be strings"))
	}
	named, ok := namedLayouts[string(layout)]
	if !ok {
		named = string(layout)
	}
	t, err := time.ParseInLocation(named, string(text), time.UTC)
	if err != nil {
		return undefined(bctx, err)
	}
	ns := t.UnixNano()
	if !time.Unix(0, ns).Equal(t) {
		return undefined(bctx, fmt.Errorf("time.parse_ns: %s is outside the range of nanoseconds", t))
	}
	return iter(ast.NumberTerm(json.Number(strconv.FormatInt(ns, 10))))
}
