package page

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// screenshots is where TestScreens leaves an image of each screen.
var screenshots = flag.String("screenshots", "", "directory for an image of each screen")

// requireBrowser makes the lack of a browser a failure.
const requireBrowser = "UVS_REQUIRE_BROWSER"

// browser is started once for all tests and ends with the process.
var browser = sync.OnceValues(func() (context.Context, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, errors.New("these tests need Chromium: apt-get install --no-install-recommends chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(2*time.Minute), chromedp.Flag("lang", "en"))
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	return ctx, chromedp.Do(ctx)
})

// tab is a page in the browser, with what went wrong in it.
type tab struct {
	*testing.T
	ctx context.Context
	at  string // address of the page's server

	mu      sync.Mutex
	console []string // errors and warnings
	asked   []string // addresses of all requests
}

// open opens an address in a fresh profile, of a width in pixels. At the end of the test
// nothing may have been written to the console as an error, and nobody else asked.
func open(t *testing.T, at, fragment string, width int64) *tab {
	t.Helper()
	parent, err := browser()
	if err != nil {
		withoutBrowser(t, err)
	}
	b := &tab{T: t, at: at}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	b.ctx = ctx
	b.do(chromedp.EmulateViewport(width, 900), chromedp.Navigate(at+"/"+fragment))
	t.Cleanup(b.judge)
	return b
}

// withoutBrowser skips the test, or fails it if skipping is not allowed.
func withoutBrowser(t *testing.T, err error) {
	t.Helper()
	if os.Getenv(requireBrowser) != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.console = append(b.console, fmt.Sprintf("exception: %+v", e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			text := string(e.Type) + ":"
			for _, a := range e.Args {
				text += " " + string(a.Value) + a.Description
			}
			b.console = append(b.console, text)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			b.console = append(b.console, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	}
}

// judge reports what must not have happened.
func (b *tab) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.console {
		b.Errorf("console: %s", text)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, b.at+"/") && !strings.HasPrefix(url, "data:,") {
			b.Errorf("the page asked %s", url)
		}
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if b.ctx.Err() == nil && chromedp.FromContext(b.ctx).Target == nil {
		ctx = b.ctx // the first use lasts as long as the tab
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// eval returns the value of an expression.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true.
func (b *tab) await(expression string) {
	b.Helper()
	for end := time.Now().Add(time.Minute); !eval[bool](b, "!!("+expression+")"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("never: %s; the page has: %s", expression, b.text())
		}
	}
}

func (b *tab) text() string { return eval[string](b, "document.body.innerText") }

// see waits until the page has a text.
func (b *tab) see(text string) {
	b.Helper()
	b.await(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// show goes to a screen as its link does.
func (b *tab) show(screen string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS(`nav a[href="#/` + screen + `"]`)))
	b.await("document.getElementById('screen-" + strings.SplitN(screen, "/", 2)[0] + "')")
}

// picture keeps an image of the screen, if that is wanted.
func (b *tab) picture(name string) {
	b.Helper()
	if *screenshots == "" {
		return
	}
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, paletted(full)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), small.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
}

// paletted is an image in its 256 most frequent colours, which is a third of the size.
func paletted(full image.Image) image.Image {
	count := map[color.Color]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			count[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	small := image.NewPaletted(full.Bounds(), colours[:min(len(colours), 256)])
	draw.Draw(small, full.Bounds(), full, image.Point{}, draw.Src)
	return small
}
