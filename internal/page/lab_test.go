package page

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestThePageShowsARealLab is uvs web on a lab with traffic, in a browser: all screens have
// what the director and the lab say themselves.
//
//	browser → uvs web (this namespace's listener) → control socket of the lab's director
//	client → director → rs1, rs2
func TestThePageShowsARealLab(t *testing.T) {
	if _, err := browser(); err != nil {
		withoutBrowser(t, err)
	}
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	web := exec.Command(labtest.Program(t), "web", "--lab", l.Name, "--listen", "127.0.0.1:0", "--reports", "../../bench/testdata")
	out, err := web.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := web.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Process.Kill(); _ = web.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at, fragment, _ := strings.Cut(strings.TrimSpace(line), "/#")
	b := open(t, at, "#"+fragment, 1180)
	request := func() { labtest.Exec(t, l, "client", "uvs", "get", "-n", "6", l.Topology.URL("/")) }
	request()
	for _, node := range []string{"client", "director", "rs1", "rs2"} {
		b.await("document.getElementById('node-node-" + node + "')")
	}
	b.see("tcp:172.16.253.63:80")

	b.show("journey")
	b.do(chromedp.SendKeys(chromedp.CSS("#trace-filter"), "tcp port 80"), chromedp.Click(chromedp.CSS("#record")))
	b.see("Waiting for packets")
	request()
	b.await("document.querySelectorAll('.events li').length === 20")
	// The recording may have begun in the middle of a connection. A SYN may have to wait for a MAC address.
	eval[bool](b, `[...document.querySelectorAll('.events button')].find(e => /:80 SYN\s/.test(e.innerText)).click() || true`)
	b.see("next eligible server after")
	eval[bool](b, "[...document.querySelectorAll('.events button')].find(e => e.innerText.includes('✓ forward')).click() || true")
	b.await("document.querySelectorAll('.parts .changed').length >= 4")
	b.see("sent on, rewritten")
	b.picture("lab-journey")
	b.do(chromedp.Click(chromedp.CSS("#dry summary")), chromedp.SendKeys(chromedp.CSS("#dry-source"), "172.16.253.36:7000"),
		chromedp.SendKeys(chromedp.CSS("#dry-destination"), "172.16.253.63:80"), chromedp.Click(chromedp.CSS("#dry-go")))
	b.await("document.querySelectorAll('.events li').length === 22") // the packet and the server's answer
	b.see("foretold: tcp 172.16.253.36:7000 > 172.16.253.63:80")
	b.show("connections")
	b.await("document.querySelectorAll('#screen-connections tbody tr').length >= 6")
	b.show("schedulers")
	b.await("import('./live.js').then(m => m.live.services['tcp:172.16.253.63:80']?.stats.connections >= 6)")
	request()
	b.await("[...document.querySelectorAll('#screen-schedulers td')].some(e => e.innerText === '50.0 %') && document.querySelector('svg path.curve')")
	b.picture("lab-schedulers")
	b.show("doctor")
	b.do(chromedp.Click(chromedp.CSS("#examine")))
	b.see("Nothing was found.")
	b.show("checks")
	b.see("director-ready")
	labtest.Exec(t, l, "director", "uvs", "check", "add", "-t", "172.16.253.63:80", "--tcp", "--interval", "200ms")
	b.await("[...document.querySelectorAll('#screen-checks td')].filter(e => e.innerText === '✓ up').length === 2")
	b.picture("lab-checks")
	b.show("map")
	b.picture("lab-map")
}
