package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newWebCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "web", Short: "Open the web console in a browser, signed in", Args: noArgs,
		Long: `Opens the web console in a browser, signed in as your token by a link that works
once, within two minutes. The token itself never reaches the browser.`,
		Example: "  caracal web\n  caracal web --print    # for a browser on another machine",
	}
	printOnly := cmd.Flags().Bool("print", false, "print the link instead of opening it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		link, err := consoleLink(cmd.Context(), setting(a.apiURL, "CARACAL_API_URL", "http://127.0.0.1:3000"), setting(a.token, "CARACAL_ADMIN_TOKEN", ""))
		if err != nil {
			return err
		}
		if *printOnly {
			return a.print(link)
		}
		return browse(cmd.Context(), link)
	}
	return cmd
}

// consoleLink asks the control plane for a one-time link.
func consoleLink(ctx context.Context, base, token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("%w: a token is needed: --token or CARACAL_ADMIN_TOKEN", errUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	base = strings.TrimRight(base, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/console/link", nil)
	if err != nil {
		return "", fmt.Errorf("%w: --api-url: %w", errUsage, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("asking for a link to the console: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Path        string `json:"path"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("asking for a link to the console: %s: %w", resp.Status, err)
	}
	if resp.StatusCode != http.StatusCreated {
		return "", errors.New("asking for a link to the console: " + resp.Status + ": " + answer.Description)
	}
	return base + answer.Path, nil
}

// browse opens an address with what the system has for it.
func browse(ctx context.Context, address string) error {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	if err := exec.CommandContext(ctx, opener, address).Run(); err != nil {
		return fmt.Errorf("no browser could be opened (%w); open %s by yourself", err, address)
	}
	return nil
}
