package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/caracalai/caracald/daemon/client"
)

// Ask before minting, and mint on Allowed alone.
func Example() {
	daemon, err := client.New(client.Config{Addr: "unix:///run/caracal/decide.sock", Timeout: 500 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = daemon.Close() }()

	decision, err := daemon.Decide(context.Background(), &client.Input{
		Principal: client.Principal{Type: "agent", ID: "agent-reconciler", ZoneID: "payments"},
		Resource:  client.Resource{Type: "service", ID: "res-ledger", Identifier: "urn:payments:ledger", Scopes: []string{"payments:read"}},
		Action:    client.Action{ID: "token:exchange"},
		Context:   client.Context{RequestedScopes: []string{"payments:read"}},
	})
	switch {
	case decision.Allowed():
		fmt.Println("mint, and name", decision.DecisionID)
	case errors.Is(err, client.ErrUnavailable):
		fmt.Println("503: nobody decided, so there is no token")
	case err != nil:
		fmt.Println("no token:", err)
	default:
		fmt.Println("denied:", decision.Reasons())
	}
	// Output: 503: nobody decided, so there is no token
}

// Trace context reaches the audit record.
func ExampleConfig_inject() {
	c, err := client.New(client.Config{
		Inject: func(ctx context.Context, h client.Headers) { otel.GetTextMapPropagator().Inject(ctx, h) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Close())
	// Output: <nil>
}

// An answer says what refused, for a log and for a person.
func ExampleError() {
	_, err := explain(&client.Error{Status: 503, Code: "audit_unavailable", Description: "the audit record cannot be kept, so there is no decision"})
	var refused *client.Error
	fmt.Println(errors.Is(err, client.ErrUnavailable), errors.As(err, &refused), refused.Code)
	// Output: true true audit_unavailable
}

func explain(err error) (client.Decision, error) {
	return client.Decision{}, fmt.Errorf("deciding: %w", err)
}
