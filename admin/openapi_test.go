package admin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin"
)

var update = flag.Bool("update", false, "write generated files anew")

const documentFile = "../docs/openapi.json"

// The committed document is the one that the code makes.
func TestOpenAPI(t *testing.T) {
	made, err := admin.OpenAPI("dev")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(documentFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, kept) {
		t.Errorf("%s is not what the code makes; make generate writes it anew", documentFile)
	}
}

type operation struct {
	OperationID string                      `json:"operationId"`
	Security    []map[string][]string       `json:"security"`
	Responses   map[string]json.RawMessage  `json:"responses"`
	Parameters  []struct{ Name, In string } `json:"parameters"`
	RequestBody map[string]json.RawMessage  `json:"requestBody"`
}

func operations(t *testing.T, p *plane) map[string]map[string]operation {
	t.Helper()
	return must[struct {
		Paths map[string]map[string]operation `json:"paths"`
	}](p, http.StatusOK, http.MethodGet, "/openapi.json", "", nil).Paths
}

// Every operation of the document but the public ones wants a token, and those
// in a zone want one that reaches the zone.
func TestEveryOperationIsGuarded(t *testing.T) {
	p := newPlane(t, nil)
	mine, other := p.zone("mine"), p.zone("other")
	token := p.token(mine, "admin")
	parameter := regexp.MustCompile(`\{[a-z0-9_]+\}`)
	seen := 0
	for path, methods := range operations(t, p) {
		for method, op := range methods {
			method = strings.ToUpper(method)
			real := strings.ReplaceAll(path, "{zone}", other)
			real = parameter.ReplaceAllString(real, "x")
			if len(op.Security) == 0 {
				if !strings.HasPrefix(op.OperationID, "health.") && op.OperationID != "document.openapi" {
					t.Errorf("%s %s is public", method, path)
				}
				continue
			}
			seen++
			p.refused(p.call(method, real, "", nil), http.StatusUnauthorized, "unauthorized")
			p.refused(p.call(method, real, "crcl_wrong", nil), http.StatusUnauthorized, "unauthorized")
			if strings.Contains(path, "{zone}") {
				p.refused(p.call(method, real, token, []byte("{}")), http.StatusForbidden, "forbidden")
			}
		}
	}
	if seen < 40 {
		t.Errorf("the document has only %d operations", seen)
	}
}

// Whatever an operation is called with, a wrong method or an unknown path is
// answered in the API's own shape.
func TestUnknownPathsAndMethods(t *testing.T) {
	p := newPlane(t, nil)
	p.refused(p.call(http.MethodGet, "/v1/nothing", root, nil), http.StatusNotFound, "not_found")
	a := p.call(http.MethodPut, "/v1/zones", root, nil)
	p.refused(a, http.StatusMethodNotAllowed, "method_not_allowed")
	if allow := a.header.Get("Allow"); allow != "GET, POST" {
		t.Errorf("Allow is %q", allow)
	}
}

// The page that shows the document needs nothing from any other host.
func TestDocumentationPageIsSelfContained(t *testing.T) {
	p := newPlane(t, nil)
	resp, err := p.client.Get(p.url + "/docs/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("/openapi.json")) {
		t.Fatalf("answered %d: %.200s", resp.StatusCode, page)
	}
	for _, ref := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllSubmatch(page, -1) {
		link := string(ref[1])
		if strings.Contains(link, "://") || strings.HasPrefix(link, "//") {
			t.Errorf("the page refers to %s", link)
			continue
		}
		if a := p.call(http.MethodGet, link, "", nil); strings.HasPrefix(link, "/docs/") && a.status != http.StatusOK {
			t.Errorf("%s is answered %d", link, a.status)
		}
	}
}
