package mirror

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/internal/durable"
)

// disk is the state directory. Nothing in it is believed: pointers and roots are
// verified again when they are read, bundles are hashed again.
//
//	bundles/SHA256     the bundle
//	zones/ID.json      the zone's pointer, as bundle.SignedPointer
//	trust.json         the answer of GET /v1/trust
//	grants.json        which tokens were accepted
type disk struct{ dir string }

const (
	bundleDir  = "bundles"
	zoneDir    = "zones"
	trustFile  = "trust.json"
	grantsFile = "grants.json"
)

// openDisk makes the directory, and removes what writing left behind when the
// process was killed.
func openDisk(dir string) (disk, error) {
	d := disk{dir}
	for _, sub := range []string{"", bundleDir, zoneDir} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return d, fmt.Errorf("preparing the state directory: %w", err)
		}
		if err := durable.Sweep(path); err != nil {
			return d, fmt.Errorf("sweeping the state directory: %w", err)
		}
	}
	return d, nil
}

func (d disk) path(name ...string) string {
	return filepath.Join(append([]string{d.dir}, name...)...)
}

// write replaces a file whole or not at all, and returns when that is durable.
func (d disk) write(data []byte, name ...string) error {
	path := d.path(name...)
	if err := durable.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// zones reads the kept pointers. What cannot be read is set aside and named in
// broken.
func (d disk) zones() (kept []bundle.SignedPointer, broken []string, err error) {
	entries, err := os.ReadDir(d.path(zoneDir))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kept pointers: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !bundle.ValidID(id) {
			continue
		}
		data, err := os.ReadFile(d.path(zoneDir, e.Name()))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the kept pointers: %w", err)
		}
		p, err := parsePointer(data, id)
		if err != nil {
			broken = append(broken, id)
			continue
		}
		kept = append(kept, p)
	}
	return kept, broken, nil
}

// parsePointer reads a kept pointer, which must be of the zone it is kept as.
func parsePointer(data []byte, id string) (bundle.SignedPointer, error) {
	var p bundle.SignedPointer
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%w: a kept pointer: %w", bundle.ErrFormat, err)
	}
	if p.ZoneID != id {
		return p, fmt.Errorf("%w: the pointer kept of zone %s is of %.128q", bundle.ErrFormat, id, p.ZoneID)
	}
	return p, nil
}

func (d disk) writeZone(p bundle.SignedPointer) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("keeping the pointer of zone %s: %w", p.ZoneID, err)
	}
	return d.write(data, zoneDir, p.ZoneID+".json")
}

// setAside renames what cannot be used, so that a person can look at it and
// nothing reads it again.
func (d disk) setAside(name ...string) error {
	path := d.path(name...)
	if err := os.Rename(path, path+".corrupt"); err != nil {
		return fmt.Errorf("setting %s aside: %w", path, err)
	}
	return nil
}
