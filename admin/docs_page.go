package admin

import (
	"net/http"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
)

func documentRoutes() []route {
	rt := raw(http.MethodGet, "/openapi.json", "document.openapi", "Read the description of this API", nil, nil, "application/json", new(map[string]any),
		func(s *Server, w http.ResponseWriter, _ *call) error {
			writeJSON(w, http.StatusOK, s.document)
			return nil
		})
	rt.public = true
	return []route{rt}
}

// documentation registers the page that shows the document. All it loads is in
// the binary.
func (s *Server) documentation(mux *http.ServeMux) {
	mux.Handle("GET /docs/", v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "caracal admin API", SwaggerJSON: "/openapi.json", BasePath: "/docs/", HideCurl: false, ShowTopBar: false,
	}))
	mux.Handle("GET /docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently))
}
