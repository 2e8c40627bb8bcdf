package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caracalai/caracald/internal/provision"
)

// patience bounds how long a test waits for what must happen.
const patience = 60 * time.Second

// chromium is the one browser of all tests; each has a profile of its own in it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	end  func()
}

// tab is one browser window, in a profile of its own, of a console.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // the control plane's URL

	mu       sync.Mutex
	problems []string
}

func startChromium(t *testing.T) {
	var path string
	provision.Ensure(t, "Chromium", func() (err error) {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, err = exec.LookPath(name); err == nil {
				return nil
			}
		}
		return err
	}, "chromium")
	chromium.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("disable-dev-shm-usage", true),
			chromedp.WSURLReadTimeout(patience), chromedp.WindowSize(1280, 900))
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox) // Chromium's sandbox does not run as root
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		chromium.ctx, chromium.end = ctx, func() { cancel(); stop() }
		if err := chromedp.Run(ctx); err != nil {
			t.Fatalf("starting Chromium: %v", err)
		}
	})
}

// newTab opens a window on a control plane. The test fails where its pages call
// another host, break their content security policy, or throw.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	startChromium(t)
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	b := &tab{t: t, ctx: ctx, base: base}
	chromedp.ListenTarget(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.problems = append(b.problems, "exception: "+ev.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			// Calls that fail are shown to people by the page; the browser notes them as network errors.
			if ev.Entry.Level == log.LevelError && ev.Entry.Source != log.SourceNetwork {
				b.problems = append(b.problems, fmt.Sprintf("%s: %s", ev.Entry.Source, ev.Entry.Text))
			}
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.APITypeError {
				var said []string
				for _, a := range ev.Args {
					said = append(said, string(a.Value)+a.Description)
				}
				b.problems = append(b.problems, "console: "+strings.Join(said, " "))
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, base+"/") && !strings.HasPrefix(ev.Request.URL, "data:") && !strings.HasPrefix(ev.Request.URL, "blob:") {
				b.problems = append(b.problems, "a call to another host: "+ev.Request.URL)
			}
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			b.shoot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Errorf("in the browser: %s", p)
		}
	})
	b.run(log.Enable(), network.Enable(), emulation.SetDeviceMetricsOverride(1280, 900, 1, false))
	return b
}

// signIn opens the console by a one-time link, as `caracal web` does.
func (b *tab) signIn(link string) {
	b.t.Helper()
	b.open(link)
	b.sees("Sign out")
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatalf("in the browser: %v\nat %s the page says:\n%s", err, b.address(), b.text())
	}
}

// open goes to a URL, or to a path of the control plane.
func (b *tab) open(address string) {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.base + address
	}
	b.run(chromedp.Navigate(address))
}

func (b *tab) reload() { b.t.Helper(); b.run(chromedp.Reload()) }

// back goes back in the history, as the browser's button does.
func (b *tab) back() { b.t.Helper(); b.js(`history.back()`, nil) }

// js evaluates an expression; a promise is waited for.
func (b *tab) js(expression string, into any) {
	b.t.Helper()
	wait := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	if into == nil {
		b.run(chromedp.Evaluate(`(() => { `+expression+` })()`, nil, wait))
		return
	}
	b.run(chromedp.Evaluate(expression, into, wait))
}

// text is what the page shows.
func (b *tab) text() (text string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`document.body?.innerText ?? ""`, &text)) // "" while a page is left
	return text
}

// address is the path, query and fragment that the browser shows.
func (b *tab) address() (address string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`location.pathname + location.search + location.hash`, &address))
	return address
}

// eventually waits until something holds.
func (b *tab) eventually(what string, holds func() bool) {
	b.t.Helper()
	if !within(holds) {
		b.t.Fatalf("never happened: %s\nat %s the page says:\n%s", what, b.address(), b.text())
	}
}

// sees waits until the page shows each of the texts.
func (b *tab) sees(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		b.eventually("the page shows "+text, func() bool { return strings.Contains(b.text(), text) })
	}
}

// gone waits until the page no longer shows a text.
func (b *tab) gone(text string) {
	b.t.Helper()
	b.eventually("the page shows no "+text, func() bool { return !strings.Contains(b.text(), text) })
}

// at waits until the address has a part.
func (b *tab) at(part string) {
	b.t.Helper()
	b.eventually("the address has "+part, func() bool { return strings.Contains(b.address(), part) })
}

// find waits for the one enabled element that assistive software knows by a role
// and name, the first of several. A name that ends with … is the beginning of one.
func (b *tab) find(role, name string) cdp.BackendNodeID {
	b.t.Helper()
	var found cdp.BackendNodeID
	b.eventually(fmt.Sprintf("there is a %s %q", role, name), func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		return chromedp.Run(ctx, chromedp.ActionFunc(func(ctx context.Context) error {
			document, _, err := runtime.Evaluate("document").Do(ctx)
			if err != nil {
				return err
			}
			query := accessibility.QueryAXTree().WithObjectID(document.ObjectID).WithRole(role)
			start, prefix := strings.CutSuffix(name, "…")
			if !prefix {
				query = query.WithAccessibleName(name)
			}
			nodes, err := query.Do(ctx)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if !n.Ignored && !disabled(n) && (!prefix || strings.HasPrefix(textOf(n.Name), start)) {
					found = n.BackendDOMNodeID
					return nil
				}
			}
			return fmt.Errorf("there is none")
		})) == nil
	})
	return found
}

func textOf(v *accessibility.Value) (text string) {
	if v != nil {
		_ = json.Unmarshal([]byte(v.Value), &text) // a name is a string
	}
	return text
}

func disabled(n *accessibility.Node) bool {
	return slices.ContainsFunc(n.Properties, func(p *accessibility.Property) bool {
		return p.Name == accessibility.PropertyNameDisabled && string(p.Value.Value) == "true"
	})
}

// click clicks what find finds, with the mouse, where it is.
func (b *tab) click(role, name string) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("the %s %q can be clicked", role, name), func() bool {
		node := b.find(role, name)
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		// The element may be drawn anew between finding and clicking it.
		return chromedp.Run(ctx, chromedp.ActionFunc(func(ctx context.Context) error {
			if err := dom.ScrollIntoViewIfNeeded().WithBackendNodeID(node).Do(ctx); err != nil {
				return err
			}
			quads, err := dom.GetContentQuads().WithBackendNodeID(node).Do(ctx)
			if err != nil {
				return err
			}
			if len(quads) == 0 {
				return fmt.Errorf("it has no place")
			}
			q := quads[0]
			return chromedp.MouseClickXY((q[0]+q[4])/2, (q[1]+q[5])/2).Do(ctx)
		})) == nil
	})
}

// focus focuses what find finds.
func (b *tab) focus(role, name string) {
	b.t.Helper()
	node := b.find(role, name)
	b.run(chromedp.ActionFunc(func(ctx context.Context) error { return dom.Focus().WithBackendNodeID(node).Do(ctx) }))
}

// press presses a key, with modifiers.
func (b *tab) press(key string, modifiers ...input.Modifier) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
}

// fill replaces the text of a field or an editor.
func (b *tab) fill(role, name, text string) {
	b.t.Helper()
	b.focus(role, name)
	b.press("a", input.ModifierCtrl)
	b.press(kb.Delete)
	b.run(input.InsertText(text))
}

// choose picks an option of a list by its text.
func (b *tab) choose(name, option string) {
	b.t.Helper()
	node := b.find("combobox", name)
	var chosen bool
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		object, err := dom.ResolveNode().WithBackendNodeID(node).Do(ctx)
		if err != nil {
			return err
		}
		arg, err := json.Marshal(option)
		if err != nil {
			return err
		}
		result, thrown, err := runtime.CallFunctionOn(`function (text) {
			const option = [...this.options].find((o) => o.text === text);
			if (!option) return false;
			Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, "value").set.call(this, option.value);
			this.dispatchEvent(new Event("change", { bubbles: true }));
			return true;
		}`).WithObjectID(object.ObjectID).WithArguments([]*runtime.CallArgument{{Value: arg}}).WithReturnByValue(true).Do(ctx)
		if err != nil {
			return err
		}
		if thrown != nil {
			return thrown
		}
		chosen = string(result.Value) == "true"
		return nil
	}))
	if !chosen {
		b.t.Fatalf("%s has no option %q", name, option)
	}
}

// size gives the window another size, in pixels of the page.
func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.run(emulation.SetDeviceMetricsOverride(width, height, 1, false))
}

// dark sets what the system prefers.
func (b *tab) prefers(scheme string) {
	b.t.Helper()
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// shoot keeps a picture of the page, for people.
func (b *tab) shoot(name string) {
	dir := filepath.Join("..", "..", "bin", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	var picture []byte
	if err := chromedp.Run(ctx, chromedp.CaptureScreenshot(&picture)); err != nil {
		b.t.Errorf("taking the picture %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, url.PathEscape(name)+".png"), picture, 0o644); err != nil {
		b.t.Error(err)
	}
}

// within asks again and again, until something holds or patience ends.
func within(holds func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			return false
		}
	}
	return true
}
