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
	if last == nil {
		last = map[string]int64{}
	}
	for id, sequence := range last {
		if err := checkZone(id, sequence); err != nil {
			return nil, err
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
	var read map[string]*int64 // pointers, as null is no sequence
	if err := unmarshalStrict(raw, &read); err != nil {
		return false, nil, fmt.Errorf(`%w: zones: must be "*" or an object from zone id to sequence: %w`, ErrFormat, err)
	}
	if read == nil {
		return false, nil, fmt.Errorf(`%w: zones: must be "*" or an object from zone id to sequence`, ErrFormat)
	}
	some = make(map[string]int64, len(read))
	for id, sequence := range read {
		if sequence == nil {
			return false, nil, fmt.Errorf("%w: zones: the sequence of %.140q is null", ErrFormat, id)
		}
		if err := checkZone(id, *sequence); err != nil {
			return false, nil, err
		}
		some[id] = *sequence
	}
	return false, some, nil
}

func checkZone(id string, sequence int64) error {
	if !ValidID(id) {
		return fmt.Errorf("%w: zones: %.140q is no id", ErrFormat, id)
	}
	if sequence < -1 || sequence > maxSafeInteger {
		return fmt.Errorf("%w: zones: the sequence of %s is %d", ErrFormat, id, sequence)
	}
	return nil
}
