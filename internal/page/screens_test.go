package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var screenNames = []string{"map", "journey", "schedulers", "connections", "doctor", "checks", "bench"}

// sources are a lab, a doctor and reports whose every text is made by word.
func sources(word func(string) string) map[string]Source {
	fixed := func(v any) Source { return func(context.Context, url.Values) (any, error) { return v, nil } }
	node := func(name, role, network, prefix string) object {
		return object{"name": word(name), "role": role, "interfaces": []object{{"network": word(network), "addresses": []object{{"prefix": word(prefix)}}}}, "setup": [][]string{{word("ip"), word("route")}}}
	}
	director := node("director", "director", "outside", "10.0.0.2/24")
	director["interfaces"] = append(director["interfaces"].([]object), object{"network": word("lan"), "addresses": []object{{"prefix": word("10.0.0.1/24")}}})
	change := object{"target": word("dr"), "measure": word("64B ns/pkt"), "baseline": word("null"), "old": 812.5, "new": 790, "better": object{"n": 12, "median": 1.03, "lo": 1.01, "hi": 1.05}, "p": 0.002, "claim": 0.01, "verdict": "faster"}
	return map[string]Source{
		"lab": fixed(object{"name": word("dr"), "topology": object{"name": word("dr"), "title": word("Direct routing: replies go past the director"), "vip": "10.0.0.100",
			"networks": []object{{"name": word("outside"), "mtu": 1500}, {"name": word("lan"), "mtu": 1500}},
			"nodes":    []object{node("client", "client", "outside", "172.16.0.9/24"), director, node("rs1", "real server", "lan", "10.0.0.11/24"), node("rs2", "real server", "lan", "10.0.0.12/24")}},
			"services": []object{{"node": word("rs1"), "name": word("http"), "command": []string{word("uvs"), word("http")}, "running": true}, {"node": word("rs2"), "name": word("http"), "command": []string{word("uvs")}, "running": false}}}),
		"doctor": fixed(object{"checks": 32, "unseen": []string{word("the firewall of rs1")}, "findings": []object{{"code": word("LVS004"), "name": word("arp-conflict"), "severity": "error", "host": word("rs2"), "summary": word("10.0.0.100 was claimed by two MAC addresses in 3 s"),
			"evidence": []string{word("02:00:00:00:00:02 (director)"), word("02:00:00:00:00:b2 (rs2)")}, "why": word("A real server answers ARP for the virtual address."), "fix": []object{{"on": word("rs2"), "command": word("sysctl -w net.ipv4.conf.all.arp_ignore=1")}}}}}),
		"reports": fixed(object{"reports": []object{{"name": word("main.json")}, {"name": word("patch.json")}}}),
		"report": fixed(object{"run": object{"kind": word("quick"), "noise": object{"grade": word("B")}, "meta": object{"revision": word("abc123")}, "beside": []object{change}, "notes": []string{word("nothing was left out")}},
			"warnings": []string{word("This report is partial: interrupted.")}, "series": []object{{"target": word("dr"), "name": word("64B"), "unit": word("ns/pkt"), "values": []float64{790, 800, 785}}, {"target": word("null"), "name": word("64B"), "unit": word("ns/pkt"), "values": []float64{700, 710}}}}),
		"compare": fixed(object{"changes": []object{change}}),
	}
}

func plain(s string) string { return s }

// visit goes through all screens and uses each.
func (b *tab) visit(picture func(string)) {
	b.Helper()
	b.await("document.querySelectorAll('#map .node').length > 3")
	b.do(chromedp.Click(chromedp.CSS("#map .node")))
	b.await("document.querySelector('#screen-map .card')")
	picture("map")
	b.show("journey")
	b.do(chromedp.Click(chromedp.CSS("#record")))
	b.await("document.querySelectorAll('.events li').length === 3 && document.querySelectorAll('#steps > li').length > 3")
	b.do(chromedp.Click(chromedp.CSS("#dry summary")), chromedp.SendKeys(chromedp.CSS("#dry-source"), "172.16.0.9:7000"), chromedp.SendKeys(chromedp.CSS("#dry-destination"), "10.0.0.100:80"), chromedp.Click(chromedp.CSS("#dry-go")))
	b.await("document.querySelectorAll('.events li').length === 4 && document.querySelector('#packet h2').innerText.includes('7000')")
	eval[bool](b, "document.querySelectorAll('.events button')[0].click() || document.querySelector('#dry summary').click() || true")
	b.await("!document.querySelector('#packet h2').innerText.includes('7000')")
	picture("journey")
	b.show("schedulers")
	b.await("document.querySelectorAll('svg.chart').length > 0")
	b.do(chromedp.Click(chromedp.CSS("#what-go")))
	b.await("document.querySelectorAll('svg.chart').length > 1")
	if eval[bool](b, "!!document.querySelector('#replay-go')") {
		b.do(chromedp.Click(chromedp.CSS("#replay-go")))
		b.await("[...document.querySelectorAll('#screen-schedulers td')].some(e => e.innerText === '1 / 1' || e.innerText === '0 / 1')")
	}
	picture("schedulers")
	b.show("connections")
	b.await("document.querySelectorAll('#screen-connections tbody tr').length > 0")
	b.do(chromedp.Click(chromedp.CSS("#screen-connections tbody button")))
	b.await("document.querySelectorAll('#life svg.chart').length > 0")
	picture("connections")
	b.show("doctor")
	b.await("document.querySelectorAll('#screen-doctor tbody tr').length === 1")
	b.do(chromedp.Click(chromedp.CSS("#examine")))
	b.await("document.querySelectorAll('#screen-doctor article').length > 0")
	picture("doctor")
	b.show("checks")
	b.await("document.querySelectorAll('#screen-checks table').length >= 4")
	picture("checks")
	b.show("bench")
	for _, id := range []string{"report", "other"} {
		b.await("document.querySelectorAll('#" + id + " option').length > 2")
		eval[bool](b, "(() => { const s = document.getElementById('"+id+"'); s.selectedIndex = s.options.length - 1; s.dispatchEvent(new Event('change')); return true; })()")
	}
	b.await("document.querySelectorAll('#screen-bench table').length > 2 && document.querySelector('#screen-bench svg')")
	picture("bench")
}

func TestScreens(t *testing.T) {
	for _, c := range []struct {
		name, language, theme string
		width                 int64
		keep                  bool // its pictures
	}{
		{"en-light", "en", "light", 1180, true},
		{"zh-dark", "zh", "dark", 1180, true},
		{"en-phone", "en", "light", 380, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := plainDirector()
			b := open(t, serve(t, d, Config{Token: "secret", Title: "dr", Sources: sources(plain)}), "#token=secret", c.width)
			b.await("document.querySelector('#language')")
			if strings.Contains(eval[string](b, "location.href"), "secret") {
				t.Error("the token stays in the address")
			}
			for id, value := range map[string]string{"language": c.language, "theme": c.theme} {
				eval[bool](b, fmt.Sprintf("(() => { const s = document.getElementById(%q); s.value = %q; s.dispatchEvent(new Event('change')); return true; })()", id, value))
			}
			n := 300
			grow(b, d, &n)
			b.visit(func(screen string) {
				if wide := eval[float64](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
					t.Errorf("%s is %v pixels wider than the window", screen, wide)
				}
				for _, bad := range eval[[]string](b, contrast) {
					t.Errorf("%s: too little contrast: %s", screen, bad)
				}
				for _, bad := range eval[[]string](b, nameless) {
					t.Errorf("%s: %s has no name for a screen reader", screen, bad)
				}
				b.picture(c.name + "-" + screen)
			})
			if lang := eval[string](b, "document.documentElement.lang"); !strings.HasPrefix(lang, c.language) {
				t.Errorf("language %s", lang)
			}
			if missing := eval[[]string](b, "import('./words.js').then(m => m.missing())"); len(missing) > 0 {
				t.Errorf("words in one language only: %v", missing)
			}
		})
	}
}

// grow has the director's counters grow a few times, and waits until the page knows.
func grow(b *tab, d *fakeDirector, n *int) {
	for range 2 {
		*n += 20
		d.set("/v1/services", services(*n))
		d.set("/v1/totals", stats(3**n, 15, 300))
		b.await(fmt.Sprintf("import('./live.js').then(m => m.live.totals.connections === %d)", 3**n))
	}
}

// contrast lists texts with less contrast than WCAG 2.2 wants (1.4.3: 4.5 to 1).
const contrast = `(() => {
  const rgb = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('.unseen, svg, [disabled], .later, .skip') || !e.checkVisibility()) continue;
    let back = null;
    for (let p = e; p && !back; p = p.parentElement) back = rgb(getComputedStyle(p).backgroundColor);
    const a = light(rgb(getComputedStyle(e).color)), z = light(back || [255, 255, 255]);
    const ratio = (Math.max(a, z) + .05) / (Math.min(a, z) + .05);
    if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + e.nodeName + '.' + e.className + ' ' + e.textContent.slice(0, 30));
  }
  return bad;
})()`

// nameless lists controls that a screen reader could not announce.
const nameless = `[...document.querySelectorAll('button, input, select, a, svg[role=img], [role=region]')].filter(e =>
  !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim())).map(e => e.outerHTML.slice(0, 80))`

// hostile is a text that would do something if it were taken for markup or a script.
func hostile(s string) string {
	return s + `"'><img src=x onerror=pwned()><script>pwned()</script><svg onload=pwned()>{{7*7}}${pwned()}` + "\u202e"
}

func TestHostileTextStaysText(t *testing.T) {
	d := plainDirector()
	text, err := json.Marshal(object{"services": services(300), "connections": []object{connection("tcp", "172.16.0.9:5000", "10.0.0.11:80", "ESTABLISHED")}, "packets": packets()})
	if err != nil {
		t.Fatal(err)
	}
	var all object
	_ = json.Unmarshal(text, &all)
	for _, list := range all {
		poison(list, "protocol", "verdict", "frame", "side")
	}
	d.set("/v1/services", all["services"])
	d.set("/v1/connections", all["connections"])
	d.set("/v1/about", object{"program": "uvs", "version": hostile("1")})
	d.set("/v1/daemons", []object{{"state": hostile("master"), "interface": hostile("eth0")}})
	d.set("/v1/checks", []object{{"service": hostile("tcp"), "server": hostile("rs"), "state": "down", "result": hostile("no"), "vip": object{"answer": hostile("no")}}})
	d.lacks("/v1/services/{service}/recording") // by its name, which a hostile one cannot be
	d.set("/v1/explain", foretold(hostile))
	d.set("/v1/drops", []object{{"code": hostile("drop-state"), "means": hostile("m"), "fix": hostile("f"), "frames": 5}})
	d.set("/v1/verdicts/forward", object{"code": hostile("forward"), "means": hostile("sent")})
	d.handle("/v1/trace", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range all["packets"].([]any) {
			_ = json.NewEncoder(w).Encode(p)
		}
	})
	d.handle("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		e, _ := json.Marshal(object{"id": "1-1", "time": "2026-11-28T07:00:00Z", "level": "warn", "event": hostile("name"), "message": hostile("message"), "attributes": object{hostile("key"): hostile("value")}})
		fmt.Fprintf(w, "id: 1-1\nevent: x\ndata: %s\n\n", e)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	b := open(t, serve(t, d, Config{Title: hostile("dr"), Sources: sources(hostile)}), "", 1180)
	b.visit(func(screen string) {
		if !strings.Contains(b.text(), "<img src=x onerror=pwned()>") {
			t.Errorf("%s does not show the text as it is", screen)
		}
		if n := eval[int](b, "document.querySelectorAll('main img, main script, header img, [onerror], [onload]').length"); n != 0 {
			t.Errorf("%s: %d elements were made of text", screen, n)
		}
	})
}

// poison makes every text in v hostile, but for the fields that are named.
func poison(v any, but ...string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			poison(e, but...)
		}
	case object:
	fields:
		for name, e := range v {
			for _, b := range but {
				if name == b {
					continue fields
				}
			}
			if s, ok := e.(string); ok && name != "time" {
				v[name] = hostile(s)
				continue
			}
			poison(e, but...)
		}
	}
}

func TestTheKeyboardReachesEveryScreen(t *testing.T) {
	b := open(t, serve(t, plainDirector(), Config{Sources: sources(plain)}), "", 1180)
	b.await("document.querySelectorAll('nav a').length === 7")
	key := func(name string) {
		b.Helper()
		b.do(chromedp.KeyEvent(name))
	}
	key("\t")
	if at := eval[string](b, "document.activeElement.id"); at != "skip" {
		t.Errorf("the first thing reached is %q", at)
	}
	for _, screen := range screenNames {
		key("\t")
		if at := eval[string](b, "document.activeElement.getAttribute('href')"); at != "#/"+screen {
			t.Fatalf("%q, want the link to %s", at, screen)
		}
		key("\r")
		b.await("document.getElementById('screen-" + screen + "')")
		if at := eval[string](b, "document.activeElement.id"); at != "main" && screen != "map" { // which is shown already
			t.Errorf("%s: the focus is at %q", screen, at)
		}
		eval[bool](b, "document.querySelector('nav a[href=\"#/"+screen+"\"]').focus() || true")
	}
	b.show("journey")
	b.do(chromedp.Click(chromedp.CSS("#record")))
	b.await("document.querySelectorAll('.events li').length === 3")
	b.await("document.querySelectorAll('#steps > li.now').length === 1")
	b.do(chromedp.Focus(chromedp.CSS("#back")))
	at := func() (i int) {
		return eval[int](b, "[...document.querySelectorAll('#steps > li')].findIndex(e => e.classList.contains('now'))")
	}
	from := at()
	key(kb.ArrowLeft)
	b.await(fmt.Sprintf("[...document.querySelectorAll('#steps > li')].findIndex(e => e.classList.contains('now')) === %d", from-1))
}

func TestTheQuizHidesTheAnswerUntilItIsGuessed(t *testing.T) {
	b := open(t, serve(t, plainDirector(), Config{}), "#/journey", 1180)
	b.await("document.querySelector('#quiz')")
	b.do(chromedp.Click(chromedp.CSS("#quiz")), chromedp.Click(chromedp.CSS("#record")))
	b.await("document.querySelectorAll('.events li').length === 3 && document.querySelectorAll('.guess').length > 3")
	for _, secret := range []string{"forward", "drop-state", "641.5", "will not see the reply", "b2"} {
		if strings.Contains(eval[string](b, "document.querySelector('.journey').innerText"), secret) {
			t.Errorf("%q gives the answer away", secret)
		}
	}
	guess := func(where string) {
		eval[bool](b, fmt.Sprintf("[...document.querySelectorAll('.guess')].find(e => e.textContent === %q).click() || true", where))
	}
	guess("10.0.0.11:80")
	b.see("No: 10.0.0.12:80.")
	b.see("0 of 1 right")
	b.see("641.5")
	eval[bool](b, "document.querySelectorAll('.events button')[1].click() || true")
	b.await("document.querySelectorAll('.guess').length > 3")
	guess("it is dropped")
	b.see("1 of 2 right")
}

func TestWhatTheDirectorChangedIsMarkedBySignToo(t *testing.T) {
	b := open(t, serve(t, plainDirector(), Config{}), "#/journey", 1180)
	b.await("document.querySelector('#record')")
	b.do(chromedp.Click(chromedp.CSS("#record")))
	b.await("document.querySelectorAll('.parts .changed').length > 0")
	got := eval[[]string](b, "[...document.querySelectorAll('.parts > section:last-child .changed')].map(e => e.previousSibling.textContent + ' ' + e.innerText)")
	want := []string{"src 02:00:00:00:00:02 ≠", "dst 02:00:00:00:00:b2 ≠", "ttl 62 ≠", "checksum a6f1 ≠"}
	for i := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

func TestAReaderWithoutATokenIsAskedForIt(t *testing.T) {
	b := open(t, serve(t, plainDirector(), Config{Token: "secret"}), "#token=wrong", 1180)
	b.see("The address that uvs web printed")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "secret"), chromedp.Click(chromedp.CSS("#entrance button")))
	b.await("document.querySelectorAll('#map .node').length > 3")
}

func TestThePageSaysThatTheDirectorIsGoneAndGoesOn(t *testing.T) {
	d := plainDirector()
	b := open(t, serve(t, d, Config{}), "", 1180)
	b.await("document.querySelectorAll('#map .node').length > 3")
	d.handle("/v1/totals", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	b.see("The director does not answer")
	d.set("/v1/totals", stats(901, 15, 300))
	b.await("!document.body.innerText.includes('The director does not answer')")
}

func TestScreenshotsInTheDocumentationAreSmall(t *testing.T) {
	files, err := os.ReadDir("../../docs/page")
	if err != nil {
		t.Skip(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Size() > 100<<10 {
			t.Errorf("%s: %v, %d bytes", f.Name(), err, info.Size())
		}
	}
}
