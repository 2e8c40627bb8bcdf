// Package scene is what the examples share: where the control plane and the
// daemon are, policies that are found or made, and steps printed as they happen.
package scene

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/policy"
)

// Scene is a zone of a control plane, and a daemon that serves it.
type Scene struct {
	*client.Client
	Zone   string
	decide string
	out    io.Writer
	step   int
}

// New reads where everything is from the environment that caracal dev writes.
func New(out io.Writer) (*Scene, error) {
	var values []string
	for _, name := range []string{"CARACAL_API_URL", "CARACAL_ADMIN_TOKEN", "CARACAL_ZONE_ID", "CARACAL_DECIDE_URL"} {
		v := os.Getenv(name)
		if v == "" {
			return nil, fmt.Errorf("%s is not set: start caracal dev and source the env file in its data directory", name)
		}
		values = append(values, v)
	}
	c, err := client.New(values[0], values[1])
	return &Scene{Client: c, Zone: values[2], decide: values[3], out: out}, err
}

// Step prints what is done next, and the command that does the same.
func (s *Scene) Step(what, command string) {
	s.step++
	_, _ = fmt.Fprintf(s.out, "\n%d. %s\n   $ %s\n", s.step, what, command)
}

// Say prints an outcome.
func (s *Scene) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

// Decision is the daemon's answer.
type Decision struct {
	policy.Result
	RequestID          string `json:"request_id"`
	DecisionID         string `json:"decision_id"`
	PolicySetVersionID string `json:"policy_set_version_id"`
	ManifestSHA256     string `json:"manifest_sha256"`
	BundleSHA256       string `json:"bundle_sha256"`
}

// Decide asks the daemon.
func (s *Scene) Decide(ctx context.Context, input json.RawMessage) (Decision, error) {
	var d Decision
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.decide+"/v1/decide", bytes.NewReader(input))
	if err != nil {
		return d, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return d, fmt.Errorf("asking the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return d, fmt.Errorf("asking the daemon: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return d, fmt.Errorf("the daemon refused: %d %s", resp.StatusCode, data)
	}
	return d, json.Unmarshal(data, &d)
}

// Input reads an input for the scene's zone.
func (s *Scene) Input(path string) (json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(strings.ReplaceAll(string(data), "ZONE_ID", s.Zone)), nil
}

// Publish finds the policy of a name and gives it the content of a file as its
// newest version, or creates it. It gives the version's id.
func (s *Scene) Publish(ctx context.Context, name, path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	policies := func(ctx context.Context, at client.Page) (api.Page[api.Policy], error) {
		return s.Policies(ctx, s.Zone, at)
	}
	for p, err := range client.All(ctx, policies) {
		switch {
		case err != nil:
			return "", err
		case p.Name != name:
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) == p.Version.ContentSHA256 {
			return p.VersionID, nil // published before
		}
		v, err := s.AddPolicyVersion(ctx, s.Zone, p.ID, api.PolicyVersionCreate{Content: string(content)})
		return v.ID, err
	}
	p, err := s.CreatePolicy(ctx, s.Zone, api.PolicyCreate{Name: name, Description: filepath.Base(path), Content: string(content)})
	return p.VersionID, err
}

// Set finds a policy set, or creates it.
func (s *Scene) Set(ctx context.Context, name string) (api.PolicySet, error) {
	sets := func(ctx context.Context, at client.Page) (api.Page[api.PolicySet], error) {
		return s.PolicySets(ctx, s.Zone, at)
	}
	for set, err := range client.All(ctx, sets) {
		if err != nil || set.Name == name {
			return set, err
		}
	}
	return s.CreatePolicySet(ctx, s.Zone, api.PolicySetCreate{Name: name})
}

// ActivateAndWait activates a version and waits until the daemons have loaded it.
func (s *Scene) ActivateAndWait(ctx context.Context, set, version, reason string) (api.Activated, error) {
	done, err := s.Activate(ctx, s.Zone, set, api.ActivateRequest{VersionID: version, Reason: reason})
	if err != nil {
		return done, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = s.WaitLoaded(ctx, s.Zone, set, version, done.OutboxID, nil)
	return done, err
}

// Denial waits until the audit has a request, and gives its first denial. The
// daemon ships its records a moment after it has answered.
func (s *Scene) Denial(ctx context.Context, request string) (api.Explain, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := s.Explain(ctx, s.Zone, request)
		if err == nil && len(e.Denied) > 0 {
			return e, nil
		}
		select {
		case <-ctx.Done():
			return e, fmt.Errorf("the audit has no denial of request %s: %w", request, err)
		case <-tick.C:
		}
	}
}

// Why is what a result says of its reasons.
func Why(r policy.Result) string {
	var by []string
	for _, p := range r.DeterminingPolicies {
		by = append(by, fmt.Sprint(p["policy"]))
	}
	text := "by " + strings.Join(by, ", ")
	for _, d := range r.Diagnostics {
		text += fmt.Sprintf(": %v", d["reason"])
	}
	return text
}
