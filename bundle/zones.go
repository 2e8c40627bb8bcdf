package bundle

import (
	"encoding/json"
	"fmt"
)

// AllZones is the value of WatchRequest.Zones that means every zone the token reaches.
func AllZones() json.RawMessage { return json.RawMessage(`"*"`) }

// SomeZones is the value of WatchRequest.Zones for zones with their last
// verified sequences, -1 for none.
func SomeZones(last map[string]int64) (json.RawMessage, error) {
	for id := range last {
		if !idPattern.MatchString(id) {
			return nil, fmt.Errorf("%w: zones: %.140q is no id", ErrFormat, id)
		}
	}
	data, err := json.Marshal(last)
	if err != nil {
		return nil, fmt.Errorf("encoding zones: %w", err)
	}
	return data, nil
}

// ParseZones reads WatchRequest.Zones. Errors match ErrFormat.
func ParseZones(raw json.RawMessage) (all bool, some map[string]int64, err error) {
	if string(raw) == `"*"` {
		return true, nil, nil
	}
	if err := unmarshalStrict(raw, &some); err != nil {
		return false, nil, fmt.Errorf(`%w: zones: must be "*" or an object from zone id to sequence: %w`, ErrFormat, err)
	}
	if some == nil {
		return false, nil, fmt.Errorf(`%w: zones: must be "*" or an object from zone id to sequence`, ErrFormat)
	}
	for id, sequence := range some {
		if !idPattern.MatchString(id) {
			return false, nil, fmt.Errorf("%w: zones: %.140q is no id", ErrFormat, id)
		}
		if sequence < -1 || sequence > maxSafeInteger {
			return false, nil, fmt.Errorf("%w: zones: the sequence of %s is %d", ErrFormat, id, sequence)
		}
	}
	return false, some, nil
}
