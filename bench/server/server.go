// Package server runs those that are asked over HTTP, each as a process of its own.
package server

import "github.com/spf13/cobra"

// Command is the hidden command by which the benchmark starts itself as a server.
func Command() *cobra.Command { return &cobra.Command{Use: "serve", Hidden: true} }
