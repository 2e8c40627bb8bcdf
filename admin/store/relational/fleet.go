package relational

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

const daemonColumns = `d.id, d.name, d.version, d.labels, d.first_seen_at, d.last_seen_at, d.owner, d.digest, d.status, d.failing_since, d.retired_at`

func scanDaemon(r Row, d *store.Daemon, more ...any) error {
	var labels string
	var first *time.Time
	var owner, digest *string
	err := r.Scan(append([]any{&d.ID, &d.Name, &d.Version, &labels, OptionalMoment{&first}, Moment{&d.LastSeenAt}, optionalText{&owner}, optionalText{&digest},
		raw{&d.Status}, OptionalMoment{&d.FailingSince}, OptionalMoment{&d.RetiredAt}}, more...)...)
	if err != nil {
		return err
	}
	d.FirstSeenAt, d.Owner, d.Digest = orZero(first), orZero(owner), orZero(digest)
	return json.Unmarshal([]byte(labels), &d.Labels)
}

// orZero is what a pointer points to, the zero value where it is nil.
func orZero[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// orNull is a value's pointer, nil for the zero value.
func orNull[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// instant is the argument of a time that may be zero.
func instant(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return optional(&t)
}

func (r *Reader) Daemon(ctx context.Context, id string) (store.Daemon, error) {
	return One(ctx, r.S, func(r Row, d *store.Daemon) error { return scanDaemon(r, d) }, `SELECT `+daemonColumns+` FROM daemons d WHERE d.id = ?`, id)
}

// daemonState is the expression of a daemon's state, with its arguments.
func daemonState(q store.DaemonQuery) (string, []any) {
	zone, args := "", []any{Micros(q.SilentBefore)}
	if q.ZoneID != "" {
		zone = ` AND r.zone_id = ?`
		args = append(args, q.ZoneID, q.ZoneID)
	}
	return `CASE WHEN d.retired_at IS NOT NULL THEN '` + store.DaemonRetired + `'
		WHEN d.last_seen_at < ? THEN '` + store.DaemonUnreachable + `'
		WHEN d.failing_since IS NOT NULL OR EXISTS (SELECT 1 FROM receipts r WHERE r.daemon_id = d.id AND r.state = 'failed'` + zone + `) THEN '` + store.DaemonFailing + `'
		WHEN EXISTS (SELECT 1 FROM receipts r JOIN pointers p ON p.zone_id = r.zone_id WHERE r.daemon_id = d.id AND r.sequence < p.sequence` + zone + `) THEN '` + store.DaemonLagging + `'
		ELSE '` + store.DaemonHealthy + `' END`, args
}

// daemonFilter is what daemons match, but for the state where that is not a column's.
func daemonFilter(q store.DaemonQuery) Filter {
	f := Filter{}
	switch q.State {
	case store.DaemonRetired:
		f.Add("d.retired_at IS NOT NULL")
	case store.DaemonUnreachable:
		f.Add("d.retired_at IS NULL AND d.last_seen_at < ?", Micros(q.SilentBefore))
	case "":
		f.Add("d.retired_at IS NULL")
	default:
		f.Add("d.retired_at IS NULL AND d.last_seen_at >= ?", Micros(q.SilentBefore))
	}
	if q.After != "" {
		f.Add("d.id > ?", q.After)
	}
	// Few are behind or fail: who they are is looked up once, rather than asked of each daemon.
	zone, args := "", []any(nil)
	if q.ZoneID != "" {
		zone, args = ` AND r.zone_id = ?`, []any{q.ZoneID}
	}
	switch q.State {
	case store.DaemonFailing:
		f.Add(`(d.failing_since IS NOT NULL OR d.id IN (SELECT r.daemon_id FROM receipts r WHERE r.state = 'failed'`+zone+`))`, args...)
	case store.DaemonLagging:
		f.Add(`d.id IN (SELECT r.daemon_id FROM pointers p JOIN receipts r ON r.zone_id = p.zone_id WHERE r.sequence < p.sequence`+zone+`)`, args...)
	}
	if q.ZoneID != "" {
		f.Add("EXISTS (SELECT 1 FROM receipts r WHERE r.zone_id = ? AND r.daemon_id = d.id)", q.ZoneID)
	}
	for name, value := range q.Labels {
		// Labels are kept as the JSON object that Go's encoder makes. A quote in a name or value
		// is escaped, so a pair between a { or , and a closing quote is one that is there.
		pair, err := json.Marshal(map[string]string{name: value})
		if err != nil {
			pair = []byte("{}")
		}
		member := string(pair[1 : len(pair)-1])
		f.Add("(replace(d.labels, ?, '') <> d.labels OR replace(d.labels, ?, '') <> d.labels)", "{"+member, ","+member)
	}
	if text := lowerASCII(q.Text); text != "" {
		f.Add("(replace(lower(d.name), ?, '') <> lower(d.name) OR replace(lower(d.id), ?, '') <> lower(d.id) OR replace(lower(d.version), ?, '') <> lower(d.version))", text, text, text)
	}
	return f
}

// lowerASCII is what lower makes of a text in every database.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// statedDaemons is the query of the daemons that match, as d with the column state.
func statedDaemons(q store.DaemonQuery, columns string) (string, []any) {
	state, args := daemonState(q)
	f := daemonFilter(q)
	query := `SELECT ` + columns + `, d.state FROM (SELECT d.*, ` + state + ` AS state FROM daemons d` + f.Where() + `) d`
	args = append(args, f.Args...)
	if q.State != "" {
		query, args = query+` WHERE d.state = ?`, append(args, q.State)
	}
	return query, args
}

func (r *Reader) Daemons(ctx context.Context, q store.DaemonQuery) ([]store.DaemonState, error) {
	query, args := statedDaemons(q, daemonColumns)
	return Many(ctx, r.S, func(r Row, d *store.DaemonState) error { return scanDaemon(r, &d.Daemon, &d.State) },
		query+` ORDER BY d.id LIMIT ?`, append(args, Bound(q.Limit))...)
}

func (r *Reader) CountDaemons(ctx context.Context, q store.DaemonQuery) ([]store.DaemonCount, error) {
	q.After = ""
	query, args := statedDaemons(q, `d.version`)
	return Many(ctx, r.S, func(r Row, c *store.DaemonCount) error { return r.Scan(&c.State, &c.Version, Num(&c.Daemons)) },
		`SELECT s.state, s.version, count(*) FROM (`+query+`) s GROUP BY s.state, s.version ORDER BY s.state, s.version`, args...)
}

const receiptColumns = `r.daemon_id, r.zone_id, r.state, r.sequence, r.version_id, r.manifest_sha256, r.bundle_sha256, r.loaded_at, r.detail,
	r.serving_sequence, r.serving_version_id, r.since, r.reported_at`

func scanReceipt(r Row, p *store.Receipt, more ...any) error {
	var loaded, since *time.Time
	err := r.Scan(append([]any{&p.DaemonID, &p.ZoneID, &p.State, Num(&p.Sequence), optionalText{&p.VersionID}, &p.ManifestSHA256, &p.BundleSHA256,
		OptionalMoment{&loaded}, &p.Detail, Num(&p.ServingSequence), optionalText{&p.ServingVersionID}, OptionalMoment{&since}, Moment{&p.ReportedAt}}, more...)...)
	p.LoadedAt, p.Since = orZero(loaded), orZero(since)
	return err
}

// marks is how many ids a query takes at once. Lists are filled up to one of
// these, so that there are few forms of the query.
var marks = []int{1, 16, 128, 512}

func (r *Reader) Receipts(ctx context.Context, daemonIDs []string, zoneID string, each int) ([]store.WantedReceipt, error) {
	var all []store.WantedReceipt
	for ids := range slices.Chunk(daemonIDs, marks[len(marks)-1]) {
		n := marks[slices.IndexFunc(marks, func(m int) bool { return m >= len(ids) })]
		args := make([]any, n, n+3)
		for i := range args {
			args[i] = ids[min(i, len(ids)-1)]
		}
		zone := ``
		if zoneID != "" {
			zone, args = ` AND r.zone_id = ?`, append(args, zoneID)
		}
		list, err := Many(ctx, r.S, func(r Row, w *store.WantedReceipt) error {
			return scanReceipt(r, &w.Receipt, Num(&w.WantedSequence), Moment{&w.WantedSince}, Num(&w.Zones))
		}, `SELECT `+receiptColumns+`, r.wanted, r.wanted_since, r.zones FROM (SELECT r.*, coalesce(p.sequence, -1) AS wanted, coalesce(p.since, 0) AS wanted_since,
				count(*) OVER (PARTITION BY r.daemon_id) AS zones,
				row_number() OVER (PARTITION BY r.daemon_id ORDER BY CASE WHEN r.state = 'failed' THEN 0 WHEN r.sequence < p.sequence THEN 1 ELSE 2 END, r.zone_id) AS place
			FROM receipts r LEFT JOIN pointers p ON p.zone_id = r.zone_id WHERE r.daemon_id IN (`+strings.TrimSuffix(strings.Repeat("?, ", n), ", ")+`)`+zone+`) r
			WHERE r.place <= ? ORDER BY r.daemon_id, r.place`, append(args, Bound(each))...)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (r *Reader) StaleReceipts(ctx context.Context, age time.Duration, limit int) ([]store.Receipt, error) {
	return Many(ctx, r.S, func(r Row, p *store.Receipt) error { return scanReceipt(r, p) }, `SELECT `+receiptColumns+` FROM receipts r
		JOIN daemons d ON d.id = r.daemon_id WHERE r.reported_at < d.last_seen_at - ? ORDER BY r.daemon_id, r.zone_id LIMIT ?`, age.Microseconds(), Bound(limit))
}

// rolloutRows is the query of a zone's receipts, as r with the columns name, last_seen_at and class.
func rolloutRows(q store.RolloutQuery) (string, []any) {
	args := []any{Micros(q.GoneBefore), Micros(q.SilentBefore), q.VersionID}
	loads, fails := ``, `r.version_id = ?`
	if q.Governs {
		loads, fails = ` AND r.sequence >= ?`, `r.sequence >= ?` // a pointer that could not even be read has a sequence and no version
		args = append(args, q.Sequence, q.Sequence)
	} else {
		args = append(args, q.VersionID)
	}
	return `(SELECT r.*, d.name, d.last_seen_at, CASE WHEN d.last_seen_at < ? THEN '` + store.RolloutGone + `' WHEN d.last_seen_at < ? THEN '` + store.RolloutSilent + `'
		WHEN r.state = 'loaded' AND r.version_id = ?` + loads + ` THEN '` + store.RolloutLoaded + `'
		WHEN r.state = 'failed' AND ` + fails + ` THEN '` + store.RolloutFailed + `'
		WHEN r.sequence < ? THEN '` + store.RolloutLagging + `' ELSE '` + store.RolloutOther + `' END AS class
		FROM receipts r JOIN daemons d ON d.id = r.daemon_id WHERE r.zone_id = ?) r`, append(args, q.Sequence, q.ZoneID)
}

func (r *Reader) Rollout(ctx context.Context, q store.RolloutQuery) (map[string]int, error) {
	type count struct {
		class string
		n     int
	}
	rows, args := rolloutRows(q)
	counts := map[string]int{}
	err := Each(ctx, r.S, func(r Row, c *count) error { return r.Scan(&c.class, Num(&c.n)) }, func(c count) error {
		counts[c.class] = c.n
		return nil
	}, `SELECT r.class, count(*) FROM `+rows+` GROUP BY r.class`, args...)
	return counts, err
}

// rolloutOrders are the columns that each store.RolloutOrder sorts by.
var rolloutOrders = map[store.RolloutOrder]string{
	store.NewestLoad:   `coalesce(r.loaded_at, 0) DESC, r.daemon_id`,
	store.NewestReport: `coalesce(r.since, r.reported_at) DESC, r.daemon_id`,
	store.Furthest:     `r.sequence, r.daemon_id`,
	store.LastSeen:     `r.last_seen_at DESC, r.daemon_id`,
}

func (r *Reader) RolloutReceipts(ctx context.Context, q store.RolloutQuery, order store.RolloutOrder, limit int, classes ...string) ([]store.RolloutReceipt, error) {
	rows, args := rolloutRows(q)
	for _, class := range classes {
		args = append(args, class)
	}
	return Many(ctx, r.S, func(r Row, p *store.RolloutReceipt) error {
		return scanReceipt(r, &p.Receipt, &p.Name, Moment{&p.LastSeenAt}, &p.Class)
	}, `SELECT `+receiptColumns+`, r.name, r.last_seen_at, r.class FROM `+rows+` WHERE r.class IN (`+strings.TrimSuffix(strings.Repeat("?, ", len(classes)), ", ")+`)
		ORDER BY `+rolloutOrders[order]+` LIMIT ?`, append(args, Bound(limit))...)
}

func (t *Tx) PutDaemon(ctx context.Context, d store.Daemon) error {
	labels, err := json.Marshal(d.Labels)
	if err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO daemons (id, name, version, labels, first_seen_at, last_seen_at, owner, digest, status, failing_since, retired_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, labels = excluded.labels,
			first_seen_at = coalesce(daemons.first_seen_at, excluded.first_seen_at),
			last_seen_at = CASE WHEN daemons.last_seen_at > excluded.last_seen_at THEN daemons.last_seen_at ELSE excluded.last_seen_at END,
			owner = excluded.owner, digest = excluded.digest, status = excluded.status, failing_since = excluded.failing_since, retired_at = excluded.retired_at`,
		d.ID, d.Name, d.Version, string(labels), instant(d.FirstSeenAt), Micros(d.LastSeenAt), orNull(d.Owner), orNull(d.Digest), document(d.Status),
		optional(d.FailingSince), optional(d.RetiredAt))
}

func (t *Tx) PutReceipt(ctx context.Context, p store.Receipt) error {
	return t.exec(ctx, `INSERT INTO receipts (zone_id, daemon_id, state, sequence, version_id, manifest_sha256, bundle_sha256, loaded_at, detail, serving_sequence, serving_version_id, since, reported_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (zone_id, daemon_id) DO UPDATE SET state = excluded.state, sequence = excluded.sequence, version_id = excluded.version_id,
			manifest_sha256 = excluded.manifest_sha256, bundle_sha256 = excluded.bundle_sha256, loaded_at = excluded.loaded_at, detail = excluded.detail,
			serving_sequence = excluded.serving_sequence, serving_version_id = excluded.serving_version_id, since = excluded.since, reported_at = excluded.reported_at
		WHERE excluded.reported_at >= receipts.reported_at`,
		p.ZoneID, p.DaemonID, p.State, p.Sequence, p.VersionID, p.ManifestSHA256, p.BundleSHA256, instant(p.LoadedAt), p.Detail, p.ServingSequence, p.ServingVersionID,
		instant(p.Since), Micros(p.ReportedAt))
}

func (t *Tx) DeleteReceipt(ctx context.Context, daemonID, zoneID string) error {
	return t.exec(ctx, `DELETE FROM receipts WHERE zone_id = ? AND daemon_id = ?`, zoneID, daemonID)
}

// seenAtOnce is how many daemons one statement notes: a round trip for each
// would hold the writers up.
const seenAtOnce = 64

func (t *Tx) SeeDaemons(ctx context.Context, seen []store.Seen) (int64, error) {
	total := int64(0)
	for len(seen) > 0 {
		n := 1
		if len(seen) >= seenAtOnce {
			n = seenAtOnce
		}
		rows := strings.TrimSuffix(strings.Repeat(`(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS TEXT)), `, n), ", ")
		args := make([]any, 0, 5*n)
		for _, one := range seen[:n] {
			args = append(args, one.ID, one.Owner, one.Digest, Micros(one.At), document(one.Status))
		}
		changed, err := t.S.Exec(ctx, `UPDATE daemons SET last_seen_at = v.column4, status = v.column5 FROM (VALUES `+rows+`) AS v
			WHERE daemons.id = v.column1 AND daemons.owner = v.column2 AND daemons.digest = v.column3 AND daemons.last_seen_at <= v.column4 AND daemons.retired_at IS NULL`, args...)
		if err != nil {
			return total, err
		}
		total, seen = total+changed, seen[n:]
	}
	return total, nil
}

func (t *Tx) RetireDaemon(ctx context.Context, id string, at time.Time) error {
	err := t.change(ctx, store.ErrNotFound, `UPDATE daemons SET retired_at = ?, owner = NULL, digest = NULL, failing_since = NULL WHERE id = ? AND retired_at IS NULL`, Micros(at), id)
	if err != nil {
		return err
	}
	return t.exec(ctx, `DELETE FROM receipts WHERE daemon_id = ?`, id)
}

func (t *Tx) ForgetDaemons(ctx context.Context, before time.Time, limit int) (int64, error) {
	ids, err := Many(ctx, t.S, ScanText, `SELECT id FROM daemons WHERE last_seen_at < ? ORDER BY id LIMIT ?`, Micros(before), Bound(limit))
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := t.exec(ctx, `DELETE FROM receipts WHERE daemon_id = ?`, id); err != nil {
			return 0, err
		}
		if err := t.exec(ctx, `DELETE FROM daemons WHERE id = ?`, id); err != nil {
			return 0, err
		}
	}
	return int64(len(ids)), nil
}
