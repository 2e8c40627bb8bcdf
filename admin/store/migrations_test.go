package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Old and new replicas share a store while an upgrade is rolled out, so a
// migration may only add: what an old one reads stays, and what it writes is
// still accepted. A migration that takes something away is the second step of
// two releases. It says so in a line "-- contract: floor N", where N is the
// first schema whose programs do without what goes, and raises schema_floor to
// that. A trigger is replaced by a wider one, which refuses less, under a line
// "-- widens: NAME": whoever writes that line has compared the two.

// narrowing is what an older program may not survive.
var narrowing = []*regexp.Regexp{
	regexp.MustCompile(`^DROP\b`),
	regexp.MustCompile(`^TRUNCATE\b`),
	regexp.MustCompile(`^ALTER TABLE\b.*\bDROP (COLUMN|CONSTRAINT)?`),
	regexp.MustCompile(`\bRENAME\b`),
	regexp.MustCompile(`^ALTER\b.*\bTYPE\b`),
	regexp.MustCompile(`\bSET NOT NULL\b`),
	regexp.MustCompile(`^ALTER TABLE\b.*\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|EXCLUDE)\b`),
	regexp.MustCompile(`^REVOKE\b.*\b(SELECT|INSERT|UPDATE|DELETE)\b`),
	regexp.MustCompile(`^CREATE OR REPLACE (FUNCTION|VIEW)\b`),
}

var (
	addColumn  = regexp.MustCompile(`^ALTER TABLE\b.*\bADD (COLUMN )?`)
	quoted     = regexp.MustCompile(`(?s)\$\$.*?\$\$|'(?:[^']|'')*'`)
	comment    = regexp.MustCompile(`(?m)--.*$`)
	spaces     = regexp.MustCompile(`\s+`)
	contract   = regexp.MustCompile(`(?m)^-- contract: floor (\d+)$`)
	widens     = regexp.MustCompile(`(?m)^-- widens: (\w+)$`)
	dropsOne   = regexp.MustCompile(`^DROP TRIGGER (\w+)`)
	raises     = regexp.MustCompile(`(?i)UPDATE schema_floor SET floor = (\d+)`)
	createdNow = regexp.MustCompile(`^CREATE (?:UNIQUE )?(TABLE|INDEX|TRIGGER) (?:IF NOT EXISTS )?(\w+)(?:.* ON (\w+))?`)
)

// lint tells what in a migration of a version an older program may not survive.
func lint(version int, sql string) (found []string) {
	up, _, _ := strings.Cut(sql, "-- +goose Down")
	floor := contract.FindStringSubmatch(up)
	raised := raises.FindStringSubmatch(up)
	switch {
	case floor != nil && (raised == nil || raised[1] != floor[1]):
		return []string{fmt.Sprintf("it is a contract step and does not set schema_floor to %s", floor[1])}
	case floor != nil:
		if n, err := strconv.Atoi(floor[1]); err != nil || n < 2 || n > version {
			return []string{fmt.Sprintf("no program of before schema %d can know schema %s", version, floor[1])}
		}
		return nil
	case raised != nil:
		return []string{"it raises schema_floor and is no contract step"}
	}
	bare := comment.ReplaceAllString(quoted.ReplaceAllString(up, "''"), "")
	wider := map[string]bool{}
	for _, m := range widens.FindAllStringSubmatch(up, -1) {
		wider[strings.ToUpper(m[1])] = true
	}
	made := map[string]bool{}
	dropped := map[string]string{} // to be made again
	for _, statement := range strings.Split(bare, ";") {
		statement = strings.TrimSpace(spaces.ReplaceAllString(strings.ToUpper(statement), " "))
		if m := dropsOne.FindStringSubmatch(statement); m != nil && wider[m[1]] {
			dropped[m[1]] = statement
			continue
		}
		if m := createdNow.FindStringSubmatch(statement); m != nil {
			made[m[2]] = true
			if m[1] == "TRIGGER" && dropped[m[2]] != "" {
				delete(dropped, m[2])
				continue
			}
			// Who writes an old table meets a new unique index or trigger.
			if old := m[3] != "" && !made[m[3]]; old && (m[1] == "TRIGGER" || strings.HasPrefix(statement, "CREATE UNIQUE")) {
				found = append(found, statement)
			}
			continue
		}
		for _, n := range narrowing {
			if n.MatchString(statement) {
				found = append(found, statement)
				break
			}
		}
		if addColumn.MatchString(statement) && strings.Contains(statement, "NOT NULL") && !strings.Contains(statement, "DEFAULT") {
			found = append(found, statement)
		}
	}
	for _, statement := range dropped {
		found = append(found, statement)
	}
	return found
}

// first are the migrations that make what older programs do not know at all.
var first = map[string]bool{"00001_control.sql": true, "00002_events.sql": true, "00001_events.sql": true}

func TestMigrationsOnlyAdd(t *testing.T) {
	files, err := filepath.Glob("*/migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("*/migrations/*/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, file := range append(files, more...) {
		if first[filepath.Base(file)] {
			continue
		}
		number, _, _ := strings.Cut(filepath.Base(file), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			t.Errorf("%s has no number: %v", file, err)
		}
		sql, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		looked++
		for _, statement := range lint(version, string(sql)) {
			t.Errorf("%s: an older replica may not survive: %s", file, statement)
		}
	}
	if looked < 4 {
		t.Errorf("only %d migrations were looked at", looked)
	}
}

func TestLintFinds(t *testing.T) {
	for sql, refused := range map[string]bool{
		"CREATE TABLE more (x INT);":                                                            false,
		"ALTER TABLE zones ADD COLUMN more TEXT NOT NULL DEFAULT '';":                           false,
		"ALTER TABLE zones ADD COLUMN more TEXT;":                                               false,
		"CREATE INDEX more ON zones (name);":                                                    false,
		"CREATE TABLE more (x INT);\nCREATE UNIQUE INDEX one ON more (x);":                      false,
		"-- DROP TABLE zones;\nSELECT 1;":                                                       false,
		"CREATE FUNCTION f() RETURNS VOID AS $$ BEGIN DROP TABLE zones; END $$;":                false,
		"SELECT 1;\n-- +goose Down\nDROP TABLE zones;":                                          false,
		"INSERT INTO notes VALUES ('; DROP TABLE zones;');":                                     false,
		"-- contract: floor 7\nALTER TABLE zones DROP slug;\nUPDATE schema_floor SET floor = 7": false,
		"-- widens: t\nDROP TRIGGER t;\nCREATE TRIGGER t BEFORE UPDATE ON zones EXECUTE f();":   false,
		"-- widens: t\nDROP TRIGGER t;":                                                         true,
		"-- widens: t\nCREATE TRIGGER t BEFORE UPDATE ON zones EXECUTE f();":                    true,
		"DROP TRIGGER t;\nCREATE TRIGGER t BEFORE UPDATE ON zones EXECUTE f();":                 true,
		"DROP TABLE zones;":                                          true,
		"drop\n  table zones;":                                       true,
		"SELECT 1; DROP INDEX zones_name;":                           true,
		"ALTER TABLE zones DROP COLUMN slug;":                        true,
		"ALTER TABLE zones DROP slug;":                               true,
		"ALTER TABLE zones RENAME COLUMN slug TO short;":             true,
		"ALTER TABLE zones ALTER COLUMN slug TYPE VARCHAR(9);":       true,
		"ALTER TABLE zones ALTER COLUMN slug SET NOT NULL;":          true,
		"ALTER TABLE zones ADD COLUMN more TEXT NOT NULL;":           true,
		"ALTER TABLE zones ADD CHECK (slug <> '');":                  true,
		"CREATE UNIQUE INDEX one ON zones (slug);":                   true,
		"CREATE TRIGGER t BEFORE INSERT ON zones EXECUTE f();":       true,
		"REVOKE INSERT ON zones FROM caracal;":                       true,
		"UPDATE schema_floor SET floor = 7;":                         true,
		"-- contract: floor 7\nALTER TABLE zones DROP slug;":         true,
		"-- contract: floor 99\nUPDATE schema_floor SET floor=99;":   true,
		"-- contract: floor 99\nUPDATE schema_floor SET floor = 99;": true,
	} {
		if found := lint(9, "-- +goose Up\n"+sql); (len(found) > 0) != refused {
			t.Errorf("%s\n\tfinds %q", sql, found)
		}
	}
}
