// Package transfer copies everything from one store to another, of the same or
// another backend: rows as they are, with their ids, numbers and hashes. A copy
// that was interrupted is continued by calling Copy again. Neither store may be
// in use meanwhile; what is written to the source during a copy makes the final
// comparison fail.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

var (
	// ErrForeign is matched when the destination holds something else than an unfinished copy of the source.
	ErrForeign = errors.New("the destination is not empty")
	// ErrDiffers is matched when the copy is not the same as the source.
	ErrDiffers = errors.New("the copy differs")
)

// Store is a store that can be copied row by row.
type Store interface {
	store.Store
	// ReadRows and WriteRows run f in a transaction on the tables of the control
	// plane, or on those of the audit.
	ReadRows(ctx context.Context, audit bool, f func(relational.Session) error) error
	WriteRows(ctx context.Context, audit bool, f func(relational.Session) error) error
	// ExpectEvents is told when the events of a chunk that is going to be written occurred.
	ExpectEvents(ctx context.Context, at []time.Time) error
	// RowsWritten is told that all rows are there, so that new numbers follow theirs.
	RowsWritten(ctx context.Context) error
}

// marker is the name of the secret that says whose copy a store is. It is
// "SOURCE" while the copy goes on and "SOURCE done" afterwards.
const (
	marker = "store_copy"
	done   = " done"
)

// chunk is how many rows one transaction copies.
const chunk = 500

// Copied is what a copy came to.
type Copied struct {
	// Rows is how many rows both stores have, Earlier how many of them a copy that was interrupted had brought.
	Rows, Earlier int64
}

// Copy copies and verifies: every table has as many rows in both stores and the
// same hash over them, and the destination finds nothing wrong with itself.
// progress is told how many of all rows are copied; each counts once more when
// it is verified.
func Copy(ctx context.Context, from, to Store, progress func(rows, of int64)) (c Copied, err error) {
	source, err := identity(ctx, from)
	if err != nil {
		return c, err
	}
	total, err := count(ctx, from)
	if err != nil {
		return c, fmt.Errorf("counting the source's rows: %w", err)
	}
	if err := claim(ctx, to, source); err != nil {
		return c, err
	}
	var at int64
	for _, t := range tables {
		copied, earlier, err := copyTable(ctx, from, to, t, func(n int64) { progress(at+n, 2*total) })
		if err != nil {
			return c, fmt.Errorf("copying %s: %w", t.name, err)
		}
		at += copied
		c.Earlier += earlier
	}
	if err := to.RowsWritten(ctx); err != nil {
		return c, fmt.Errorf("ending the copy: %w", err)
	}
	for _, t := range tables {
		n, err := compare(ctx, from, to, t)
		if err != nil {
			return c, fmt.Errorf("verifying %s: %w", t.name, err)
		}
		c.Rows += n
		progress(total+c.Rows, 2*total)
	}
	wrong, err := to.Check(ctx)
	if err != nil {
		return c, err
	}
	if len(wrong) > 0 {
		return c, fmt.Errorf("%w: %s", ErrDiffers, strings.Join(wrong, "; "))
	}
	return c, to.Update(ctx, func(tx store.Tx) error { return tx.PutSecret(ctx, marker, []byte(source+done)) })
}

// identity tells stores apart: by the first entry of their audit and their keys.
func identity(ctx context.Context, s Store) (string, error) {
	h := sha256.New()
	err := s.ReadRows(ctx, false, func(r relational.Session) error {
		for _, query := range []string{
			`SELECT chain_hash FROM admin_events WHERE chain_seq = 1`, `SELECT value FROM secrets WHERE name <> '` + marker + `' ORDER BY name`,
			`SELECT id FROM zones ORDER BY created_at, id LIMIT 1`,
		} {
			if err := r.Rows(ctx, query, nil, func(row relational.Row) error { return add(h, row, 1) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the source: %w", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// count counts the rows that are copied.
func count(ctx context.Context, s Store) (total int64, err error) {
	for _, t := range tables {
		err := s.ReadRows(ctx, t.events, func(r relational.Session) error {
			n, err := relational.One(ctx, r, relational.ScanNumber[int64], `SELECT count(*) FROM `+t.name+t.where())
			total += n
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// where keeps the marker of a copy from being copied.
func (t table) where() string {
	if t.name == "secrets" {
		return ` WHERE name <> '` + marker + `'`
	}
	return ""
}

// claim marks an empty destination as a copy of the source, or finds the mark.
func claim(ctx context.Context, to Store, source string) error {
	var holds string
	err := to.View(ctx, func(r store.Reader) error {
		value, err := r.Secret(ctx, marker)
		holds = string(value)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the destination: %w", err)
	}
	switch {
	case holds == source:
		return nil
	case strings.TrimSuffix(holds, done) == source:
		return fmt.Errorf("%w: it is a complete copy of the source already", ErrForeign)
	case holds != "":
		return fmt.Errorf("%w: it is a copy of another store", ErrForeign)
	}
	n, err := count(ctx, to)
	if err != nil {
		return fmt.Errorf("reading the destination: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("%w: it has %d rows of its own; a copy needs a new store", ErrForeign, n)
	}
	err = to.Update(ctx, func(tx store.Tx) error { return tx.PutSecret(ctx, marker, []byte(source)) })
	if err != nil {
		return fmt.Errorf("writing the destination: %w", err)
	}
	return nil
}

// copyTable copies a table from where the destination's ends. It gives how many
// rows the destination has then, and how many it had before.
func copyTable(ctx context.Context, from, to Store, t table, progress func(int64)) (n, earlier int64, err error) {
	var last []any
	if t.name != "secrets" { // the few of them are looked at again
		err = to.ReadRows(ctx, t.events, func(s relational.Session) (err error) {
			if n, err = relational.One(ctx, s, relational.ScanNumber[int64], `SELECT count(*) FROM `+t.name); err != nil || n == 0 {
				return err
			}
			return s.Row(ctx, `SELECT `+t.keys()+` FROM `+t.name+` ORDER BY `+t.descending()+` LIMIT 1`, nil, func(r relational.Row) (err error) {
				last, err = scan(r, t.key)
				return err
			})
		})
		if err != nil {
			return 0, 0, err
		}
	}
	earlier = n
	for {
		rows, err := page(ctx, from, t, last)
		if err != nil || len(rows) == 0 {
			return n, earlier, err
		}
		if t.name == "events" {
			times := make([]time.Time, len(rows))
			for i, row := range rows {
				micros, _ := row[occurredAtColumn].(int64)
				times[i] = time.UnixMicro(micros).UTC()
			}
			if err := to.ExpectEvents(ctx, times); err != nil {
				return n, earlier, err
			}
		}
		err = to.WriteRows(ctx, t.events, func(s relational.Session) error {
			for _, row := range rows {
				if err := t.insert(ctx, s, row); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, earlier, err
		}
		n += int64(len(rows))
		progress(n)
		last = rows[len(rows)-1][:t.key]
	}
}

// page reads the rows after a key, nil for the first.
func page(ctx context.Context, s Store, t table, last []any) (rows [][]any, err error) {
	where := t.where()
	if last != nil {
		if where == "" {
			where = " WHERE "
		} else {
			where += " AND "
		}
		where += "(" + t.keys() + ") > (" + marks(t.key) + ")"
	}
	err = s.ReadRows(ctx, t.events, func(r relational.Session) error {
		return r.Rows(ctx, `SELECT `+t.list()+` FROM `+t.name+where+` ORDER BY `+t.keys()+` LIMIT ?`, append(append([]any{}, last...), chunk), func(row relational.Row) error {
			values, err := scan(row, len(t.columns))
			rows = append(rows, values)
			return err
		})
	})
	return rows, err
}

func (t table) insert(ctx context.Context, s relational.Session, row []any) error {
	query := `INSERT INTO ` + t.name + ` (` + t.list() + `) VALUES (` + marks(len(row)) + `)`
	switch t.name {
	case "secrets":
		_, err := s.Exec(ctx, query+` ON CONFLICT DO NOTHING`, row...)
		return err
	case "pointers":
		return movePointer(ctx, s, query, row)
	}
	_, err := s.Exec(ctx, query, row...)
	return err
}

// movePointer makes a pointer as every pointer is made: at sequence 0, and
// raised from there. Databases refuse anything else.
func movePointer(ctx context.Context, s relational.Session, insert string, row []any) error {
	sequence, ok := row[sequenceColumn].(int64)
	issued, iok := row[issuedAtColumn].(int64)
	if !ok || !iok {
		return fmt.Errorf("a pointer is kept with %T and %T", row[sequenceColumn], row[issuedAtColumn])
	}
	if sequence == 0 {
		_, err := s.Exec(ctx, insert, row...)
		return err
	}
	first := append([]any{}, row...)
	first[sequenceColumn], first[issuedAtColumn] = int64(0), issued-1 // what is raised is issued later
	if _, err := s.Exec(ctx, insert, first...); err != nil {
		return err
	}
	_, err := s.Exec(ctx, `UPDATE pointers SET sequence = ?, issued_at = ? WHERE zone_id = ?`, sequence, issued, row[0])
	return err
}

// scan reads a row of n columns.
func scan(r relational.Row, n int) ([]any, error) {
	values, into := make([]any, n), make([]any, n)
	for i := range values {
		into[i] = &values[i]
	}
	if err := r.Scan(into...); err != nil {
		return nil, err
	}
	for i, v := range values {
		if b, ok := v.([]byte); ok && b == nil { // empty, not NULL
			values[i] = []byte{}
		}
	}
	return values, nil
}

// add adds a row of n columns to a hash: each value as its kind, its length and its bytes.
func add(h hash.Hash, r relational.Row, n int) error {
	values, err := scan(r, n)
	if err != nil {
		return err
	}
	return addValues(h, values)
}

func addValues(h hash.Hash, values []any) error {
	for _, v := range values {
		var kind byte
		var data []byte
		switch v := v.(type) {
		case nil:
		case int64:
			kind, data = 'i', binary.BigEndian.AppendUint64(nil, uint64(v))
		case string:
			kind, data = 's', []byte(v)
		case []byte:
			kind, data = 'b', v
		default:
			return fmt.Errorf("a value is kept as %T", v)
		}
		h.Write(append([]byte{kind}, binary.BigEndian.AppendUint64(nil, uint64(len(data)))...))
		h.Write(data)
	}
	return nil
}

// compare tells how many rows of a table both stores have, ErrDiffers where they are not the same.
func compare(ctx context.Context, from, to Store, t table) (int64, error) {
	var counts [2]int64
	var sums [2]string
	for i, s := range []Store{from, to} {
		h := sha256.New()
		var last []any
		for {
			rows, err := page(ctx, s, t, last)
			if err != nil {
				return 0, err
			}
			if len(rows) == 0 {
				break
			}
			for _, row := range rows {
				if err := addValues(h, row); err != nil {
					return 0, err
				}
			}
			counts[i] += int64(len(rows))
			last = rows[len(rows)-1][:t.key]
		}
		sums[i] = fmt.Sprintf("%x", h.Sum(nil))
	}
	if counts[0] != counts[1] || sums[0] != sums[1] {
		return 0, fmt.Errorf("%w: %d rows with the hash %s are %d rows with the hash %s", ErrDiffers, counts[0], sums[0], counts[1], sums[1])
	}
	return counts[0], nil
}
