package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is where everything is.
const schema = "caracal"

// Parameters of each connection. A replica that is cut off amid a transaction
// holds the others up no longer than idle_in_transaction_session_timeout.
//
// jit is off: the planner does not know a limit that is a parameter, and takes a
// page of a million events for a long query. Compiling it took 30 ms, reading the
// page takes 4 (go test ./admin/store -bench Query).
var parameters = map[string]string{
	"search_path":                         schema,
	"application_name":                    "caracal",
	"idle_in_transaction_session_timeout": "30s",
	"jit":                                 "off",
	"tcp_keepalives_idle":                 "15",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
	"TimeZone":                            "UTC",
}

// connectTimeout bounds one attempt to connect where the URL does not.
const connectTimeout = 10 * time.Second

func configure(c *pgx.ConnConfig) {
	for name, value := range parameters {
		c.RuntimeParams[name] = value
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = connectTimeout
	}
}

// prepare makes a commit durable before it is answered, also where the database
// is set not to.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// connect makes a pool of at most so many connections, each made when it is needed.
func connect(ctx context.Context, url string, conns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the store's URL: %w", err)
	}
	configure(config.ConnConfig)
	config.AfterConnect = prepare
	config.MaxConns, config.MinConns, config.MinIdleConns = int32(conns), 0, 0
	config.MaxConnIdleTime = 5 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the store: %w", err)
	}
	return pool, nil
}
