package main

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Identifiers of RFC 8693.
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken    = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken        = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT            = "urn:ietf:params:oauth:token-type:jwt"
)

const (
	maxForm    = 64 << 10
	maxTargets = 16
)

// form is a token exchange request, RFC 8693 section 2.1, that is well formed.
type form struct {
	subjectToken, actorToken string
	targets                  []target
	// scopes is nil where the client asks for none in particular.
	scopes        []string
	requestedType string
}

// target is a service that the token is to be used at.
type target struct {
	name string
	// byURI tells a resource (a URI) from an audience (a name).
	byURI bool
}

// readForm reads a request, or says what is wrong with it.
func readForm(w http.ResponseWriter, r *http.Request) (*form, *problem) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, wrongRequest("the body must be application/x-www-form-urlencoded")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, wrongRequest("the body cannot be read")
	}
	values := r.PostForm // and never the URL's, which ends up in logs
	for name, list := range values {
		if len(list) > 1 && name != "resource" && name != "audience" {
			return nil, wrongRequest("a parameter is there more than once")
		}
	}
	if grant := values.Get("grant_type"); grant != grantTokenExchange {
		return nil, &problem{status: http.StatusBadRequest, Code: unsupportedGrantType, Description: "grant_type must be " + grantTokenExchange}
	}
	f := &form{subjectToken: values.Get("subject_token"), actorToken: values.Get("actor_token"), requestedType: values.Get("requested_token_type")}
	accepted := []string{typeAccessToken, typeIDToken, typeJWT}
	switch {
	case f.subjectToken == "":
		return nil, wrongRequest("subject_token is required")
	case !slices.Contains(accepted, values.Get("subject_token_type")):
		return nil, wrongRequest("subject_token_type must be that of an access token, an id token or a JWT")
	case f.actorToken == "" && values.Get("actor_token_type") != "":
		return nil, wrongRequest("actor_token_type is there without an actor_token")
	case f.actorToken != "" && !slices.Contains(accepted, values.Get("actor_token_type")):
		return nil, wrongRequest("actor_token_type must be that of an access token, an id token or a JWT")
	}
	switch f.requestedType {
	case "":
		f.requestedType = typeAccessToken
	case typeAccessToken, typeJWT:
	default:
		return nil, wrongRequest("requested_token_type must be that of an access token or a JWT")
	}
	if p := f.readTargets(values); p != nil {
		return nil, p
	}
	return f, f.readScope(values.Get("scope"))
}

func (f *form) readTargets(values url.Values) *problem {
	for _, uri := range values["resource"] {
		if u, err := url.Parse(uri); err != nil || !u.IsAbs() || strings.Contains(uri, "#") {
			return &problem{status: http.StatusBadRequest, Code: invalidTarget, Description: "resource must be an absolute URI without a fragment"}
		}
		f.targets = append(f.targets, target{uri, true})
	}
	for _, name := range values["audience"] {
		f.targets = append(f.targets, target{name, false})
	}
	if len(f.targets) == 0 {
		return wrongRequest("a resource or an audience is required")
	}
	if len(f.targets) > maxTargets {
		return &problem{status: http.StatusBadRequest, Code: invalidTarget, Description: "there are too many targets"}
	}
	return nil
}

// readScope splits a scope into its tokens, RFC 6749 section 3.3.
func (f *form) readScope(text string) *problem {
	for token := range strings.SplitSeq(text, " ") {
		for i := range len(token) {
			if c := token[i]; c < '!' || c > '~' || c == '"' || c == '\\' {
				return &problem{status: http.StatusBadRequest, Code: invalidScope, Description: "scope has a character that is not allowed"}
			}
		}
		if token != "" && !slices.Contains(f.scopes, token) {
			f.scopes = append(f.scopes, token)
		}
	}
	return nil
}
