package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/caracalai/caracald/daemon/client"
)

//go:embed resources.json
var paymentsResources []byte

// catalogue is the resources that tokens are minted for.
type catalogue []client.Resource

// loadCatalogue reads a JSON array of resources, each {type, id, identifier, scopes}.
func loadCatalogue(path string) (catalogue, error) {
	data := paymentsResources
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	var list catalogue
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading the resources: %w", err)
	}
	return list, nil
}

// find gives the resource that a client names: by its URI as RFC 8693's
// resource, or by its id as an audience.
func (c catalogue) find(t target) *client.Resource {
	i := slices.IndexFunc(c, func(r client.Resource) bool {
		if t.byURI {
			return r.Identifier == t.name
		}
		return r.ID == t.name
	})
	if i < 0 {
		return nil
	}
	return &c[i]
}
