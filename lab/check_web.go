package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"uvs/internal/lang"
)

// tries is how often an order of answers may be wrong: somebody else who asks meanwhile
// changes it.
const tries = 3

// fetch fetches a URL from a node over a connection of its own, and expects status 200.
func (l *Lab) fetch(ctx context.Context, node, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	resp, err := l.HTTPClient(node).Do(req)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("lab: %s: %s", url, resp.Status)
	}
	return string(body), err
}

// page asks once.
func (r *checkRun) page() (string, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.Within)
	defer cancel()
	body, err := r.lab.fetch(ctx, r.From, r.Get)
	return strings.TrimSpace(body), err
}

// pages asks n times. If a request is not answered it says which and why, and what came before.
func (r *checkRun) pages(n int) (pages []string, failed *lang.Text) {
	for i := range n {
		page, err := r.page()
		if err != nil {
			why := r.failure(err)
			text := lang.Text{
				EN: fmt.Sprintf("request %d of %d: %s", i+1, n, why.EN),
				ZH: fmt.Sprintf("第 %d 次请求（共 %d 次）：%s", i+1, n, why.ZH),
			}
			if len(pages) > 0 {
				text.EN += ", after " + sequence(pages)
				text.ZH += "，此前得到 " + sequence(pages)
			}
			return pages, &text
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// sequence writes answers in their order, or, if there are many, how often each came.
func sequence(pages []string) string {
	const most = 12
	if len(pages) <= most {
		return strings.Join(pages, " ")
	}
	return tally(pages)
}

// tally writes how often each answer came, in the order of names.
func tally(pages []string) string {
	n := map[string]int{}
	for _, p := range pages {
		n[p]++
	}
	names := slices.Sorted(slices.Values(pages))
	var all []string
	for _, p := range slices.Compact(names) {
		all = append(all, fmt.Sprintf("%s×%d", p, n[p]))
	}
	return strings.Join(all, " ")
}

// times returns how often to ask: n unless the check says so.
func (r *checkRun) times(n int) int {
	if r.Times > 0 {
		return r.Times
	}
	return n
}

// get expects each answer to be one of those expected, whatever their order, and of the size.
func (r *checkRun) get() (bool, lang.Text, lang.Text) {
	n := r.times(max(1, len(r.Expect)))
	expected := lang.Textf("%d answers from %s", "%[2]s 的 %[1]d 次应答", n, r.Get)
	switch {
	case len(r.Expect) > 0:
		expected = lang.Textf("%[2]d answers, each one of: %[1]s", "%[2]d 次应答，每次为其中之一：%[1]s", strings.Join(r.Expect, ", "), n)
	case r.Size > 0:
		expected = lang.Textf("%d bytes", "%d 字节", r.Size)
	}
	pages, failed := r.pages(n)
	if failed != nil {
		return false, *failed, expected
	}
	if r.Size > 0 {
		i := slices.IndexFunc(pages, func(p string) bool { return len(p) != r.Size })
		return i < 0, lang.Textf("%d bytes", "%d 字节", len(pages[max(i, 0)])), expected
	}
	other := func(p string) bool { return len(r.Expect) > 0 && !slices.Contains(r.Expect, p) }
	return !slices.ContainsFunc(pages, other), plain(tally(pages)), expected
}

// alternate expects the answers in turn: each once in every round, in whatever order.
func (r *checkRun) alternate() (ok bool, seen, expected lang.Text) {
	round := len(r.Expect)
	n := r.times(2 * round)
	expected = lang.Textf("%s in turn, %d answers", "轮流得到 %s，共 %d 次应答", strings.Join(r.Expect, ", "), n)
	for range tries {
		pages, failed := r.pages(n)
		if failed != nil {
			return false, *failed, expected
		}
		seen = plain(sequence(pages))
		if inTurn(pages, r.Expect) {
			return true, seen, expected
		}
	}
	return false, seen, expected
}

// inTurn reports whether only the expected pages came, each again after as many answers as
// there are pages, and all differ within that many.
func inTurn(pages, expect []string) bool {
	round := len(expect)
	for i, p := range pages {
		if !slices.Contains(expect, p) || slices.Contains(pages[max(0, i-round+1):i], p) {
			return false
		}
	}
	return true
}

// shares expects each page as often as its weight says.
func (r *checkRun) shares() (ok bool, seen, expected lang.Text) {
	sum, all := 0, 0
	for _, w := range r.Weights {
		sum += w
		all = divisor(all, w)
	}
	n := r.times(2 * sum / all)
	var want []string
	for i, w := range r.Weights {
		want = append(want, fmt.Sprintf("%s×%d", r.Expect[i], n*w/sum))
	}
	expected = lang.Textf("%s in %d answers", "%[2]d 次应答：%[1]s", strings.Join(want, " "), n)
	for range tries {
		pages, failed := r.pages(n)
		if failed != nil {
			return false, *failed, expected
		}
		if seen = plain(tally(pages)); r.shared(pages, sum) {
			return true, seen, expected
		}
	}
	return false, seen, expected
}

// shared reports whether each page came as often as its weight says, to the next whole number
// where the number of answers is not one of whole rounds.
func (r *checkRun) shared(pages []string, sum int) bool {
	left := len(pages)
	for i, page := range r.Expect {
		n := 0
		for _, p := range pages {
			if p == page {
				n++
			}
		}
		left -= n
		exact := len(pages) * r.Weights[i]
		if n < exact/sum || n > (exact+sum-1)/sum {
			return false
		}
	}
	return left == 0
}

// divisor is the greatest common divisor.
func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// same expects one server for all requests.
func (r *checkRun) same() (bool, lang.Text, lang.Text) {
	n := r.times(4)
	expected := lang.Textf("the same answer %d times", "%d 次应答都相同", n)
	if len(r.Expect) > 0 {
		expected = lang.Textf("%s, %d times", "%s，共 %d 次", strings.Join(r.Expect, " / "), n)
	}
	pages, failed := r.pages(n)
	if failed != nil {
		return false, *failed, expected
	}
	ok := len(slices.Compact(slices.Clone(pages))) == 1 && (len(r.Expect) == 0 || slices.Contains(r.Expect, pages[0]))
	return ok, plain(sequence(pages)), expected
}

// source expects the servers to see one of some addresses as their client.
func (r *checkRun) source() (bool, lang.Text, lang.Text) {
	at, err := r.target()
	if err != nil {
		return false, plain(err.Error()), lang.Text{}
	}
	r.Get = "http://" + at.String() + "/client"
	expected := lang.Textf("servers see %s", "服务器看到的源地址为 %s", strings.Join(r.Expect, " / "))
	pages, failed := r.pages(r.times(max(1, len(r.lab.Topology.RealServers()))))
	if failed != nil {
		return false, *failed, expected
	}
	var seen []string
	for _, p := range pages {
		if ap, err := netip.ParseAddrPort(p); err == nil {
			p = ap.Addr().Unmap().String()
		}
		if !slices.Contains(seen, p) {
			seen = append(seen, p)
		}
	}
	ok := !slices.ContainsFunc(seen, func(a string) bool { return !slices.Contains(r.Expect, a) })
	return ok, lang.Textf("servers see %s", "服务器看到的源地址为 %s", strings.Join(seen, ", ")), expected
}
