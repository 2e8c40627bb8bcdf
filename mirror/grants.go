package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caracalai/caracald/bundle"
)

const (
	// maxGrants bounds the tokens remembered, and the refused ones apart from them.
	maxGrants = 10000
	// refusalTTL is how long a refused token is refused without asking again.
	refusalTTL = 5 * time.Second
	// probeTimeout bounds asking the control plane about a token.
	probeTimeout = 10 * time.Second
	// probesAtOnce is how many tokens are asked about at once.
	probesAtOnce = 8
)

// grants are the tokens that the control plane accepted: for each its SHA-256,
// the zones that it reaches, and when that was so. The control plane is asked by
// watching with the token itself, without waiting: what it answers are the
// pointers of exactly the zones that the token reaches.
//
// A grant is good for GrantRecheck. After that the control plane is asked again,
// and only while it cannot be, the grant is good for GrantTTL.
type grants struct {
	m       *Mirror
	probing singleflight.Group
	places  chan struct{}

	mu      sync.Mutex
	byHash  map[string]*grant
	refused map[string]refusedToken
	written time.Time
	saving  sync.Mutex
}

type grant struct {
	zones map[string]bool
	at    time.Time
	// known is how many zones there were then; more may be within reach by now.
	known int
}

type refusedToken struct {
	problem *problem
	until   time.Time
}

// keptGrants is how grants are kept on disk.
type keptGrants struct {
	Grants map[string]keptGrant `json:"grants"`
}

type keptGrant struct {
	Zones []string  `json:"zones"`
	At    time.Time `json:"at"`
}

// openGrants reads what is kept and not too old.
func openGrants(m *Mirror) (*grants, error) {
	g := &grants{m: m, places: make(chan struct{}, probesAtOnce), byHash: map[string]*grant{}, refused: map[string]refusedToken{}}
	data, err := os.ReadFile(m.disk.path(grantsFile))
	if errors.Is(err, os.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kept grants: %w", err)
	}
	kept, err := parseGrants(data)
	if err != nil {
		m.log.Error("the kept grants cannot be used; daemons are asked about anew", "error", err)
		return g, m.disk.setAside(grantsFile)
	}
	for hash, k := range kept {
		if age := m.cfg.Now().Sub(k.at); age >= 0 && age < m.cfg.GrantTTL {
			g.byHash[hash] = k
		}
	}
	return g, nil
}

// parseGrants reads kept grants.
func parseGrants(data []byte) (map[string]*grant, error) {
	var kept keptGrants
	if err := json.Unmarshal(data, &kept); err != nil {
		return nil, fmt.Errorf("%w: grants: %w", bundle.ErrFormat, err)
	}
	if len(kept.Grants) > maxGrants {
		return nil, fmt.Errorf("%w: there are %d grants; at most %d are kept", bundle.ErrLimit, len(kept.Grants), maxGrants)
	}
	all := make(map[string]*grant, len(kept.Grants))
	for hash, k := range kept.Grants {
		if !hashPattern.MatchString(hash) {
			return nil, fmt.Errorf("%w: grants: %.80q is no SHA-256", bundle.ErrFormat, hash)
		}
		g := &grant{zones: make(map[string]bool, len(k.Zones)), at: k.At}
		for _, zone := range k.Zones {
			if !bundle.ValidID(zone) {
				return nil, fmt.Errorf("%w: grants: %.140q is no zone id", bundle.ErrFormat, zone)
			}
			g.zones[zone] = true
		}
		all[hash] = g
	}
	return all, nil
}

// admit gives the grant of a token, or the problem that its daemon is told.
func (g *grants) admit(ctx context.Context, token string) (*grant, *problem) {
	sum := sha256.Sum256([]byte(token))
	hash := hex.EncodeToString(sum[:])
	now := g.m.cfg.Now()
	g.mu.Lock()
	have, r := g.byHash[hash], g.refused[hash]
	g.mu.Unlock()
	if r.problem != nil && now.Before(r.until) {
		return nil, r.problem
	}
	usable := have != nil && now.Sub(have.at) < g.m.cfg.GrantTTL
	fresh := have != nil && now.Sub(have.at) < g.m.cfg.GrantRecheck && have.known == g.m.pointers.count()
	if fresh || usable && !g.m.connected.Load() { // asking would only take time
		return have, nil
	}
	asked, err, _ := g.probing.Do(hash, func() (any, error) {
		// Others wait for the same answer, whoever of them goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		return g.probe(ctx, token, hash)
	})
	if err == nil {
		return asked.(*grant), nil
	}
	var told *refusal
	switch {
	case errors.As(err, &told) && (told.status == http.StatusUnauthorized || told.status == http.StatusForbidden):
		p := &problem{status: told.status, Code: told.Code, Description: told.Description}
		g.refuse(hash, p, now)
		return nil, p
	case usable:
		return have, nil
	}
	g.m.log.Warn("a token could not be asked about", "error", err)
	return nil, unreachable()
}

// probe asks the control plane about a token.
func (g *grants) probe(ctx context.Context, token, hash string) (*grant, error) {
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many tokens are being asked about", errUnreachable)
	}
	at, known := g.m.cfg.Now(), g.m.pointers.count()
	answer, err := g.m.up.watch(ctx, token, bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{}})
	if err != nil {
		return nil, err
	}
	made := &grant{zones: make(map[string]bool, len(answer.Pointers)), at: at, known: known}
	for _, p := range answer.Pointers {
		if bundle.ValidID(p.ZoneID) {
			made.zones[p.ZoneID] = true
		}
	}
	g.keep(hash, made)
	return made, nil
}

// keep remembers a grant, and writes it down where that changes what would hold
// after a restart.
func (g *grants) keep(hash string, made *grant) {
	now := g.m.cfg.Now()
	g.mu.Lock()
	before := g.byHash[hash]
	if before == nil && len(g.byHash) >= maxGrants {
		g.drop(now)
	}
	g.byHash[hash] = made
	delete(g.refused, hash)
	// A later time alone is written now and then: it moves the end by as much.
	due := before == nil || !maps.Equal(before.zones, made.zones) || now.Sub(g.written) >= g.m.cfg.GrantTTL/24
	g.mu.Unlock()
	if due {
		g.save()
	}
}

// drop makes room: of what is too old, otherwise of the oldest. The caller holds mu.
func (g *grants) drop(now time.Time) {
	oldest := ""
	for hash, k := range g.byHash {
		if now.Sub(k.at) >= g.m.cfg.GrantTTL {
			delete(g.byHash, hash)
		} else if oldest == "" || k.at.Before(g.byHash[oldest].at) {
			oldest = hash
		}
	}
	if len(g.byHash) >= maxGrants {
		delete(g.byHash, oldest)
	}
}

// refuse remembers that a token was refused, and forgets its grant.
func (g *grants) refuse(hash string, p *problem, now time.Time) {
	g.mu.Lock()
	if len(g.refused) >= maxGrants {
		clear(g.refused)
	}
	g.refused[hash] = refusedToken{p, now.Add(refusalTTL)}
	_, had := g.byHash[hash]
	delete(g.byHash, hash)
	g.mu.Unlock()
	if had {
		g.m.log.Warn("a token that was accepted before is refused by the control plane", "token_sha256", hash)
		g.save()
	}
}

// save writes the grants down.
func (g *grants) save() {
	g.saving.Lock()
	defer g.saving.Unlock()
	now := g.m.cfg.Now()
	kept := keptGrants{Grants: map[string]keptGrant{}}
	g.mu.Lock()
	for hash, k := range g.byHash {
		if now.Sub(k.at) < g.m.cfg.GrantTTL {
			kept.Grants[hash] = keptGrant{Zones: slices.Sorted(maps.Keys(k.zones)), At: k.at.UTC()}
		}
	}
	g.written = now
	g.mu.Unlock()
	data, err := json.Marshal(kept)
	if err == nil {
		err = g.m.disk.write(data, grantsFile)
	}
	if err != nil {
		g.m.log.Error("the grants could not be kept; after a restart daemons are asked about anew", "error", err)
	}
}

// count tells how many tokens are accepted.
func (g *grants) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.byHash)
}
