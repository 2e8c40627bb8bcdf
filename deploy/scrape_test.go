package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	patience  = 2 * time.Minute
	rootToken = "the-admin-token-of-this-test"
	askToken  = "the-decide-token-of-this-test"
)

// site is a control plane and a daemon, with what is between them.
type site struct {
	t                    *testing.T
	dir, admin, decide   string
	zone, set, daemonKey string
	// What is between may hold back or spoil what goes through.
	holdAudit, spoilBundles, spoilPointers, cut atomic.Bool
}

// scrape runs both processes through what they count, and gives what they expose.
func scrape(t *testing.T) exposed {
	s := &site{t: t, dir: t.TempDir()}
	s.start()
	s.decideAll()
	s.fillSpool()
	s.loseControlPlane()
	s.refusePointers()
	s.failToLoad()
	s.crowd()
	s.trim()
	x := exposed{}
	s.read(x, s.admin, "")
	s.read(x, s.decide, askToken)
	return x
}

// between carries the daemon's calls to the control plane.
func (s *site) between() string {
	to, err := url.Parse(s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	signature := regexp.MustCompile(`"sig":"(.)`)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			bundle := s.spoilBundles.Load() && strings.HasPrefix(r.Request.URL.Path, "/v1/bundles/")
			pointer := s.spoilPointers.Load() && r.Request.URL.Path == "/v1/pointers/watch"
			if !bundle && !pointer {
				return nil
			}
			data, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			if bundle && len(data) > 0 {
				data[len(data)/2] ^= 1
			} else if pointer {
				data = signature.ReplaceAllFunc(data, func(m []byte) []byte {
					m[len(m)-1] ^= 1 // A becomes @, and @ is no base64: both are refused
					return m
				})
			}
			r.Body = io.NopCloser(bytes.NewReader(data))
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cut.Load() || s.holdAudit.Load() && r.URL.Path == "/v1/audit/batches" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }() // it ends by Close
	s.t.Cleanup(func() { _ = server.Close() })
	return "http://" + l.Addr().String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (s *site) start() {
	t := s.t
	adminAddress, decideAddress := freeAddress(t), freeAddress(t)
	s.admin, s.decide = "http://"+adminAddress, "http://"+decideAddress
	s.process("caracal", []string{"CARACAL_ADMIN_TOKEN=" + rootToken}, "admin", "--admin-addr", adminAddress, "--data-dir", filepath.Join(s.dir, "admin"),
		"--maintenance-interval", "200ms", "--max-watchers", "3", "--log-level", "warn")
	s.eventually("the control plane is ready", func() error { return get(s.admin+"/readyz", "", nil) })
	s.zone = s.id("zone", "create", "watched")
	var token struct{ Token string }
	s.cli(&token, "token", "create", "daemon", "--role", "daemon")
	s.daemonKey = token.Token
	root := filepath.Join(s.dir, "root.json")
	s.cli(nil, "key", "root", "fetch", root)
	s.process("caracald", []string{"CARACALD_TOKEN=" + s.daemonKey, "CARACALD_DECIDE_TOKEN=" + askToken}, "--admin-url", s.between(), "--zone", s.zone,
		"--trust-root", root, "--state-dir", filepath.Join(s.dir, "daemon"), "--decide-addr", decideAddress, "--spool-max-bytes", "65536", "--ship-interval", "20ms", "--log-level", "error")
	s.eventually("the daemon is ready", func() error { return get(s.decide+"/readyz", "", nil) })
	s.set = s.id("policy-set", "create", "set")
}

// process starts a program that ends with the test.
func (s *site) process(name string, env []string, args ...string) {
	cmd := exec.Command(binary(s.t, name), args...)
	cmd.Env = env
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("%s ended with %v", name, err)
		}
		_ = log.Close() // what it says is only shown where a test fails
		if s.t.Failed() {
			s.t.Logf("-- %s\n%s", name, read(s.t, log.Name()))
		}
	})
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary(s.t, "caracal"), args...)
	cmd.Env = append(os.Environ(), "CARACAL_API_URL="+s.admin, "CARACAL_ADMIN_TOKEN="+rootToken, "CARACAL_ZONE_ID="+s.zone)
	return cmd
}

// cli runs a command and reads its JSON.
func (s *site) cli(into any, args ...string) {
	s.t.Helper()
	if into != nil {
		args = append(args, "--json")
	}
	out, err := s.command(args...).Output()
	if err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			out = ended.Stderr
		}
		s.t.Fatalf("caracal %s: %v: %s", strings.Join(args, " "), err, out)
	}
	if into != nil {
		if err := json.Unmarshal(out, into); err != nil {
			s.t.Fatalf("caracal %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

func (s *site) id(args ...string) string {
	s.t.Helper()
	var made struct{ ID string }
	s.cli(&made, args...)
	return made.ID
}

func (s *site) eventually(what string, holds func() error) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("never happened: %s: %v", what, err)
		}
	}
}

func get(at, token string, into *[]byte) error {
	req, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", at, resp.Status, data)
	}
	if into != nil {
		*into = data
	}
	return nil
}

// publish makes a version of the set from a policy and activates it.
func (s *site) publish(number int) {
	s.t.Helper()
	content := fmt.Sprintf(`package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "number %d"}]}

result := {"decision": input.context.actor_claims.say, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	"read" in input.context.requested_scopes
}
`, number)
	file := filepath.Join(s.dir, "policy.rego")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	name := fmt.Sprint("policy-", number)
	s.cli(nil, "policy", "create", file, "--name", name)
	s.cli(nil, "policy-set", "add-version", "set", name)
	s.cli(nil, "policy-set", "activate", "set")
}

// ask asks the daemon once, and gives the status and the body.
func (s *site) ask(scope, say string) (int, string) {
	s.t.Helper()
	input := fmt.Sprintf(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"a","zone_id":%q},
		"resource":{"type":"t","id":"r","identifier":"urn:r","scopes":["read"]},"action":{"id":"x"},"session":null,"delegation_edge":null,
		"context":{"actor_claims":{"say":%q},"challenge_resolved":false,"requested_scopes":[%q],"trace_id":%q}}`, s.zone, say, scope, strings.Repeat("t", 200))
	return s.post(s.decide+"/v1/decide", askToken, "application/json", []byte(input))
}

func (s *site) post(at, token, kind string, body []byte) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// decideAll has decisions of each kind, and a request that is refused.
func (s *site) decideAll() {
	s.publish(1)
	s.eventually("an allow, a deny and an error", func() error {
		_, allow := s.ask("read", "allow")
		_, deny := s.ask("write", "allow")
		_, failed := s.ask("read", "neither")
		if !strings.Contains(allow, `"decision":"allow"`) || !strings.Contains(deny, "number 1") || !strings.Contains(failed, `"evaluation_status":"error"`) {
			return fmt.Errorf("%s %s %s", allow, deny, failed)
		}
		return nil
	})
	if status, body := s.post(s.decide+"/v1/decide", askToken, "application/json", []byte("{")); status != http.StatusBadRequest {
		s.t.Errorf("a broken input: %d %s", status, body)
	}
}

// fillSpool holds back the audit until decisions are refused.
func (s *site) fillSpool() {
	s.holdAudit.Store(true)
	s.eventually("the spool is full", func() error {
		for range 50 {
			if status, body := s.ask("read", "allow"); status == http.StatusServiceUnavailable && strings.Contains(body, "audit_unavailable") {
				return nil
			}
		}
		return errors.New("it is not")
	})
	s.holdAudit.Store(false)
	s.eventually("the spool is empty", func() error { return s.gauge("caracal_daemon_spool_depth", func(v float64) bool { return v == 0 }) })
	if status, body := s.post(s.admin+"/v1/audit/batches", s.daemonKey, "application/vnd.caracal.audit-batch", []byte("no batch")); status != http.StatusBadRequest {
		s.t.Errorf("what is no batch: %d %s", status, body)
	}
}

// gauge looks at a metric of the daemon, summed over its labels.
func (s *site) gauge(name string, holds func(float64) bool) error {
	x := exposed{}
	sum, found := s.read(x, s.decide, askToken)[name]
	if !found || !holds(sum) {
		return fmt.Errorf("%s is %v (%t)", name, sum, found)
	}
	return nil
}

func (s *site) more(name string) {
	s.t.Helper()
	s.eventually(name+" is counted", func() error { return s.gauge(name, func(v float64) bool { return v > 0 }) })
}

func (s *site) loseControlPlane() {
	s.cut.Store(true)
	s.cli(nil, "policy-set", "activate", "set") // ends the poll that is under way
	s.more("caracal_daemon_watch_failures_total")
	s.cut.Store(false)
}

func (s *site) refusePointers() {
	s.spoilPointers.Store(true)
	s.publish(2)
	s.more("caracal_daemon_pointers_refused_total")
	s.spoilPointers.Store(false)
}

// failToLoad activates a version whose bundle does not arrive whole, and waits
// until the control plane has been told.
func (s *site) failToLoad() {
	s.spoilBundles.Store(true)
	s.publish(3)
	s.more("caracal_daemon_load_failures_total")
	s.eventually("the control plane knows of the failure", func() error {
		x := exposed{}
		s.read(x, s.admin, "")
		for _, of := range x["caracal_admin_receipts_total"] {
			if of["state"] == "failed" {
				return nil
			}
		}
		return errors.New("it does not")
	})
	s.spoilBundles.Store(false)
}

// crowd follows the audit, and polls until the control plane takes no more.
func (s *site) crowd() {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	for range 3 { // the daemon's poll is another
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/v1/zones/"+s.zone+"/audit/tail", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+rootToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = resp.Body.Close() })
	}
	s.eventually("one too many is refused", func() error {
		if err := get(s.admin+"/v1/zones/"+s.zone+"/audit/tail", rootToken, nil); err == nil || !strings.Contains(err.Error(), "too_many_watchers") {
			return fmt.Errorf("it is not: %v", err)
		}
		return nil
	})
}

// trim lets retention remove events.
func (s *site) trim() {
	s.cli(nil, "zone", "update", s.zone, "--retention-bytes", "1000")
	s.eventually("retention removes events", func() error {
		x := exposed{}
		if s.read(x, s.admin, "")["caracal_admin_audit_trimmed_total"] == 0 {
			return errors.New("it does not")
		}
		return nil
	})
}

// read adds what a process exposes, and gives each metric's sum.
func (s *site) read(x exposed, at, token string) map[string]float64 {
	s.t.Helper()
	var data []byte
	if err := get(at+"/metrics", token, &data); err != nil {
		s.t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Now()}, values(families)...)
	if err != nil {
		s.t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, sample := range samples {
		of := map[string]string{}
		for name, value := range sample.Metric {
			of[string(name)] = string(value)
		}
		name := of[model.MetricNameLabel]
		x[name] = append(x[name], of)
		sums[name] += float64(sample.Value)
	}
	return sums
}

func values[K comparable, V any](m map[K]V) (list []V) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}
