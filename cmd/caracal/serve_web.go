package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
)

func newWebCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "web", Short: "Open the API's documentation in a browser", Args: noArgs,
		Long: "Opens the control plane's page in a browser: the documentation of its API, from\nwhich each call can be tried with your token.",
	}
	printOnly := cmd.Flags().Bool("print", false, "print the address instead of opening it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		address := setting(a.apiURL, "CARACAL_API_URL", "http://127.0.0.1:3000") + "/docs/"
		if err := a.print(address); err != nil || *printOnly {
			return err
		}
		return browse(cmd.Context(), address)
	}
	return cmd
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
