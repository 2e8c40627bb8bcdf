package console_test

import (
	"context"
	"encoding/json"
	"errors"
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
	t.Helper()
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
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("disable-dev-shm-usage", true))
		if os.Geteuid() == 0 {
			options = append(options, chromedp.Flag("no-sandbox", true)) // Chromium's sandbox does not run as root
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		chromium.ctx, chromium.end = ctx, func() { cancel(); stop() }
		if err := chromedp.Do(ctx); err != nil {
			t.Fatalf("starting Chromium: %v", err)
		}
	})
}

// newTab opens a window on a control plane. The test fails where its pages call
// another host, break their content security policy, or throw.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	startChromium(t)
	b := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.note))
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // the context of the first call is the window's
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.shoot("failed-" + t.Name())
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Errorf("in the browser: %s", p)
		}
	})
	call(b, log.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	b.size(1280, 900)
	return b
}

// note keeps what must not happen in a browser.
func (b *tab) note(ev any) {
	problem := ""
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			problem += " " + e.Description
		}
	case *log.EventEntryAdded:
		// A call that fails is shown to people by the page; the browser notes it as an error of the network.
		if ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork {
			problem = fmt.Sprintf("%s: %s", ev.Entry.Source, ev.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError {
			problem = "console:"
			for _, a := range ev.Args {
				problem += " " + string(a.Value) + a.Description
			}
		}
	case *network.EventRequestWillBeSent:
		at := ev.Request.URL
		if !strings.HasPrefix(at, b.base+"/") && !strings.HasPrefix(at, "data:") && !strings.HasPrefix(at, "blob:") {
			problem = "a call to another host: " + at
		}
	}
	if problem != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, problem)
	}
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *tab, cmd cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		b.t.Fatalf("in the browser: %s: %v\nat %s the page says:\n%s", cmd.Method, err, b.address(), b.text())
	}
	return r
}

// signIn opens the console by a one-time link, as `caracal web` does.
func (b *tab) signIn(link string) {
	b.t.Helper()
	b.open(link)
	b.sees("Sign out")
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
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
func (b *tab) back() { b.t.Helper(); b.run(chromedp.Evaluate[chromedp.Void](`history.back()`)) }

// js evaluates an expression; a promise is waited for.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("in the browser: %s: %v", expression, err)
	}
	return v
}

// text is what the page shows; "" while it is being left.
func (b *tab) text() string { return b.peek(`document.body?.innerText ?? ""`) }

// address is the path, query and fragment that the browser shows.
func (b *tab) address() string { return b.peek(`location.pathname + location.search + location.hash`) }

func (b *tab) peek(expression string) string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return "" // between two pages there is none
	}
	return text
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

// find waits for the enabled element that assistive software knows by a role and
// name, the first of several. A name that ends with … is the beginning of one.
func (b *tab) find(role, name string) cdp.BackendNodeID {
	b.t.Helper()
	var found cdp.BackendNodeID
	b.eventually(fmt.Sprintf("there is a %s %q", role, name), func() (ok bool) {
		found, ok = b.lookup(role, name)
		return ok
	})
	return found
}

// has tells whether there is such an element now.
func (b *tab) has(role, name string) bool {
	_, ok := b.lookup(role, name)
	return ok
}

func (b *tab) lookup(role, name string) (cdp.BackendNodeID, bool) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	document, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: "document"})
	if err != nil || document.Result == nil {
		return 0, false // between two pages there is none
	}
	query := accessibility.QueryAXTreeParams{ObjectID: document.Result.ObjectID, Role: role}
	start, prefix := strings.CutSuffix(name, "…")
	if !prefix {
		query.AccessibleName = name
	}
	tree, err := chromedp.Call(ctx, accessibility.QueryAXTree, query)
	if err != nil {
		return 0, false
	}
	for _, n := range tree.Nodes {
		if !n.Ignored && !disabled(n) && (!prefix || strings.HasPrefix(textOf(n.Name), start)) {
			return n.BackendDOMNodeID, true
		}
	}
	return 0, false
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
	var why error
	b.eventually(fmt.Sprintf("the %s %q can be clicked (%v)", role, name, why), func() bool {
		why = b.clickAt(b.find(role, name))
		return why == nil // it may be drawn anew between finding and clicking it
	})
}

// clickAt fails, and has clicked nothing, where the element moves or something
// lies over it.
func (b *tab) clickAt(node cdp.BackendNodeID) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	element, err := chromedp.Call(ctx, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node})
	if err != nil {
		return err
	}
	wait := true
	found, err := chromedp.Call(ctx, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
		FunctionDeclaration: `async function () {
			this.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
			const frame = () => new Promise(requestAnimationFrame);
			const at = () => { const r = this.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; };
			const before = at();
			for (let i = 0; i < 4; i++) await frame();
			const [x, y] = at();
			if (x !== before[0] || y !== before[1]) throw new Error("it moves");
			const top = document.elementFromPoint(x, y);
			if (!top || !this.contains(top)) throw new Error("something is over it");
			return JSON.stringify([x, y]);
		}`, ObjectID: element.Object.ObjectID, AwaitPromise: &wait,
	})
	if err != nil {
		return err
	}
	var at string
	var place [2]float64
	if found.ExceptionDetails != nil {
		return errors.New(found.ExceptionDetails.Exception.Description)
	}
	if err := json.Unmarshal([]byte(found.Result.Value), &at); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(at), &place); err != nil {
		return err
	}
	return chromedp.Do(ctx, chromedp.MouseClickXY(place[0], place[1]))
}

// focus focuses what find finds.
func (b *tab) focus(role, name string) {
	b.t.Helper()
	call(b, dom.Focus, dom.FocusParams{BackendNodeID: b.find(role, name)})
}

// press presses a key, with modifiers.
func (b *tab) press(key string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
}

// pressEnd goes to the end of a text, as Ctrl-End does.
func (b *tab) pressEnd() { b.t.Helper(); b.press(kb.End, chromedp.ModifierCtrl) }

// fill replaces the text of a field or an editor.
func (b *tab) fill(role, name, text string) {
	b.t.Helper()
	b.focus(role, name)
	b.press("a", chromedp.ModifierCtrl)
	b.press(kb.Delete)
	b.write(text)
}

// write writes a text where the focus is.
func (b *tab) write(text string) {
	b.t.Helper()
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

// choose picks an option of a list by its text.
func (b *tab) choose(name, option string) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%s has the option %q", name, option), func() bool {
		object := call(b, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: b.find("combobox", name)}).Object
		text, err := json.Marshal(option)
		if err != nil {
			b.t.Fatal(err)
		}
		chosen := call(b, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
			FunctionDeclaration: `function (text) {
				const option = [...this.options].find((o) => o.text === text);
				if (!option) return false;
				Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, "value").set.call(this, option.value);
				this.dispatchEvent(new Event("change", { bubbles: true }));
				return true;
			}`,
			ObjectID: object.ObjectID, Arguments: []*runtime.CallArgument{{Value: text}},
		})
		return chosen.ExceptionDetails == nil && string(chosen.Result.Value) == "true"
	})
}

// size gives the window another size, in pixels of the page.
func (b *tab) size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

// prefers sets the colours that the system prefers: "light" or "dark".
func (b *tab) prefers(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
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
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
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
