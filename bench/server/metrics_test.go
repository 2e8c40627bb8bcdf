package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bench/server"
)

func TestMetricsAreSummedOverLabels(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "# HELP a_total some\n# TYPE a_total counter\na_total{zone=\"one two\"} 3\na_total{zone=\"b\"} 4\nb 1.5e+03\n")
	}))
	defer s.Close()
	m, err := server.Metrics(t.Context(), strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 2 || m["a_total"] != 7 || m["b"] != 1500 {
		t.Errorf("metrics: %v", m)
	}
}
