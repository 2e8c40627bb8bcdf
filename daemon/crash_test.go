package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
)

// childEnv carries the configuration of a daemon that the test binary is to be.
const childEnv = "CARACALD_TEST_CHILD"

type childConfig struct {
	AdminURL, StateDir string
	TrustRoot          json.RawMessage
	Socket             string
	Durability         audit.Durability
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs a daemon until its standard input ends, or it is killed.
func child(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	d, err := daemon.New(daemon.Config{
		AdminURLs: []string{c.AdminURL}, Token: daemonToken, TrustRoot: c.TrustRoot, StateDir: c.StateDir, DecideAddr: "127.0.0.1:0", DecideSocket: c.Socket,
		SpoolDurability: c.Durability, CacheBytes: 1 << 20, RetryMin: time.Millisecond, RetryMax: 50 * time.Millisecond, WatchWait: time.Second, DrainTimeout: patience,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		cancel()
	}()
	go func() {
		<-d.Ready()
		fmt.Println(d.Addr())
	}()
	return d.Run(ctx)
}

// TestKill: a daemon is killed again and again while it decides and its zone's
// pointer moves. Every decision that was answered is in the audit, equal to the
// answer, or counted as a gap; no sequence goes back, over the restarts too; and
// each answer is of a version that was active.
func TestKill(t *testing.T) { eachDurability(t, kill) }

func kill(t *testing.T, set func(*daemon.Config)) {
	var durability daemon.Config
	set(&durability)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	p := newPlane(t)
	sequences := map[string]int64{}
	versions := map[string]version{}
	var all []version
	for i := range 12 {
		v := p.publish("z1", i+1, "")
		all, versions[v.id] = append(all, v), v
	}
	next := 0
	move := func() {
		if next < len(all) {
			ptr := p.activate("z1", &all[next])
			p.mu.Lock()
			sequences[all[next].id] = ptr.Sequence
			p.mu.Unlock()
			next++
		}
	}
	move()
	dir, err := os.MkdirTemp("", "caracald")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config, err := json.Marshal(childConfig{AdminURL: p.server.URL, StateDir: dir + "/state", TrustRoot: p.trust.roots[0], Socket: dir + "/s", Durability: durability.SpoolDurability})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	answered := map[string]decision{}
	highest := int64(0)
	for round := range rounds + 1 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(config))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		addr, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Fatalf("round %d: the child is not ready: %v", round, err)
		}
		floor := highest // what every answer of this round is at least
		n := &node{t: t, url: "http://" + strings.TrimSpace(addr), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
		target := 50 + rand.IntN(150)
		enough := make(chan struct{})
		var once sync.Once
		var work sync.WaitGroup
		count := 0
		for c := range 4 {
			work.Go(func() {
				for i := 0; ; i++ {
					r, err := n.try("POST", "/v1/decide", []byte(inputOf("z1", "read", fmt.Sprintf(`,"trace_id":"%d-%d"`, c, i%7))))
					if err != nil || r.status != 200 {
						return // killed, or stopping
					}
					got := parse[decision](t, r.body)
					if got.Decision != "allow" || got.PolicySetVersionID == nil || got.tag() != versions[*got.PolicySetVersionID].tag {
						t.Errorf("got %s", r.body)
						return
					}
					p.mu.Lock()
					sequence := sequences[*got.PolicySetVersionID]
					p.mu.Unlock()
					mu.Lock()
					answered[got.DecisionID] = got
					highest = max(highest, sequence)
					if sequence < floor {
						t.Errorf("sequence %d was answered after %d", sequence, floor)
					}
					count++
					if count == target/2 {
						move()
					}
					if count == target {
						once.Do(func() { close(enough) })
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(patience):
			t.Fatalf("round %d: too few answers", round)
		}
		if round < rounds {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		} else if err := stdin.Close(); err != nil { // a stop in order ships everything
			t.Fatal(err)
		}
		work.Wait()
		if err := cmd.Wait(); (err == nil) != (round == rounds) {
			t.Fatalf("round %d: the child ended with %v", round, err)
		}
	}
	kept := p.kept()
	missing := uint64(0)
	for id, got := range answered {
		r, ok := kept[id]
		if !ok {
			missing++
			continue
		}
		if r.Decision != got.Decision || r.PolicySetVersionID != *got.PolicySetVersionID || r.BundleSHA256 != *got.BundleSHA256 || r.Sequence != sequences[r.PolicySetVersionID] {
			t.Errorf("answer %+v, record %+v", got, r)
		}
	}
	if missing > p.gaps {
		t.Errorf("%d of %d answered decisions have no record, %d are counted", missing, len(answered), p.gaps)
	}
}
