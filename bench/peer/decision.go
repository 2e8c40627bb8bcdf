package peer

import (
	"encoding/json"
	"fmt"
)

// Decision reads the decision out of an answer: the member "decision" of the
// document itself or of its member "result", as OPA's server has it.
func Decision(answer []byte) (allow bool, err error) {
	var a struct {
		Decision string
		Result   struct{ Decision string }
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return false, fmt.Errorf("reading an answer: %w", err)
	}
	switch a.Decision + a.Result.Decision {
	case "allow":
		return true, nil
	case "deny":
		return false, nil
	}
	return false, fmt.Errorf("no decision in %.200s", answer)
}

// appendAnswer is the answer of peers whose engine gives a decision and no document,
// with the faults that it is to tell.
func appendAnswer(dst []byte, allow bool, faults ...string) []byte {
	dst = append(dst, `{"decision":"`...)
	if allow {
		dst = append(dst, "allow"...)
	} else {
		dst = append(dst, "deny"...)
	}
	dst = append(dst, `","evaluation_status":"complete","determining_policies":[],"diagnostics":[`...)
	for i, fault := range faults {
		if i > 0 {
			dst = append(dst, ',')
		}
		quoted, err := json.Marshal(fault)
		if err != nil {
			panic(err) // a string always encodes
		}
		dst = append(dst, `{"reason":`...)
		dst = append(append(dst, quoted...), '}')
	}
	return append(dst, "]}"...)
}
