package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// decision is the daemon's answer.
type decision struct {
	policy.Result
	RequestID          string  `json:"request_id"`
	DecisionID         string  `json:"decision_id"`
	ZoneID             string  `json:"zone_id"`
	PolicySetID        *string `json:"policy_set_id"`
	PolicySetVersionID *string `json:"policy_set_version_id"`
	ManifestSHA256     *string `json:"manifest_sha256"`
	BundleSHA256       *string `json:"bundle_sha256"`
}

// asker asks a daemon, over TCP or a Unix socket.
type asker struct {
	url    string
	token  string
	client *http.Client
}

// newAsker takes http://HOST:PORT or unix:PATH.
func newAsker(address, token string) *asker {
	t := &http.Transport{MaxIdleConnsPerHost: 256}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", strings.TrimPrefix(path, "//"))
		}
		address = "http://localhost"
	}
	return &asker{url: strings.TrimRight(address, "/"), token: token, client: &http.Client{Transport: t, Timeout: 30 * time.Second}}
}

// ask gives the answer's bytes; a refusal is a *client.Error.
func (k *asker) ask(ctx context.Context, input []byte, requestID string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v1/decide", bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	if requestID != "" {
		req.Header.Set("X-Request-Id", requestID)
	}
	if k.token != "" {
		req.Header.Set("Authorization", "Bearer "+k.token)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		e := &client.Error{Status: resp.StatusCode, Code: "refused"}
		var body struct {
			Code        string `json:"error"`
			Description string `json:"error_description"`
		}
		if json.Unmarshal(data, &body) == nil && body.Code != "" {
			e.Code, e.Description = body.Code, body.Description
		}
		return nil, e
	}
	return data, nil
}

func newDecideCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "decide FILE", Short: "Ask a daemon for a decision", Args: args(1, 1),
		Long: `Asks a daemon for a decision on the input in a file, or on standard input for -.
"ZONE_ID" in the input stands for the zone in use. The exit code is 0 for allow
and deny alike: both are answers.`,
		Example: "  caracal decide examples/payments/inputs/refund.json --request-id my-request",
	}
	url := cmd.Flags().String("decide-url", "", "the daemon: http://HOST:PORT or unix:PATH [$CARACAL_DECIDE_URL, else http://127.0.0.1:8181]")
	id := cmd.Flags().String("request-id", "", "the request's id; made by the daemon by default")
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		if *id != "" && !bundle.ValidID(*id) { // the daemon would make one of its own
			return fmt.Errorf("%w: --request-id has 1 to 128 letters, digits, and _ . : -", errUsage)
		}
		input, err := a.input(list[0], a.zone)
		if err != nil {
			return err
		}
		asker := newAsker(setting(*url, "CARACAL_DECIDE_URL", "http://127.0.0.1:8181"), os.Getenv("CARACAL_DECIDE_TOKEN"))
		data, err := asker.ask(cmd.Context(), input, *id)
		if err != nil {
			return err
		}
		var d decision
		if err := json.Unmarshal(data, &d); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		return a.show(json.RawMessage(data), func() error {
			if err := a.printResult(d.Result); err != nil {
				return err
			}
			return a.fields("request id", d.RequestID, "version id", orDash(d.PolicySetVersionID), "manifest", orDash(d.ManifestSHA256), "bundle", orDash(d.BundleSHA256))
		})
	}
	return cmd
}
