package page

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// serve serves a page about a director, and returns its address.
func serve(t *testing.T, d *fakeDirector, c Config) string {
	t.Helper()
	c.Director = d.client(t)
	s := httptest.NewServer(New(c).Handler())
	t.Cleanup(s.Close)
	return s.URL
}

// call makes a request with headers, each a name and a value.
func call(t *testing.T, method, at string, headers ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(body)
}

func TestRequestsOfOthersAreRefused(t *testing.T) {
	at := serve(t, plainDirector(), Config{Token: "secret", Hosts: []string{"lb.example"}})
	host := strings.TrimPrefix(at, "http://")
	bearer := []string{"Authorization", "Bearer secret"}
	for _, c := range []struct {
		name, method, path string
		headers            []string
		want               int
	}{
		{"a reader with the token is answered", "GET", "/v1/services", bearer, 200},
		{"the token may be a parameter", "GET", "/v1/services?token=secret", nil, 200},
		{"without the token there is nothing of the director's", "GET", "/v1/services", nil, 401},
		{"nor with another one", "GET", "/v1/services", []string{"Authorization", "Bearer secre"}, 401},
		{"nor with an empty one", "GET", "/v1/services?token=", nil, 401},
		{"the page itself holds no secret", "GET", "/", nil, 200},
		{"a name that leads here by somebody else's DNS is refused", "GET", "/", []string{"Host", "evil.example"}, 403},
		{"also with the token", "GET", "/v1/services", append([]string{"Host", "evil.example:80"}, bearer...), 403},
		{"a name that begins like an own one is refused", "GET", "/", []string{"Host", "localhost.evil.example"}, 403},
		{"localhost is an own name", "GET", "/", []string{"Host", "localhost:9999"}, 200},
		{"so is what --name says", "GET", "/", []string{"Host", "LB.example"}, 200},
		{"so is an address", "GET", "/", []string{"Host", "[::1]:8480"}, 200},
		{"another site's page is refused by its origin", "GET", "/v1/services", append([]string{"Origin", "http://evil.example"}, bearer...), 403},
		{"another port is another site", "GET", "/v1/services", append([]string{"Origin", "http://127.0.0.1:1"}, bearer...), 403},
		{"a page without an origin is another site", "GET", "/v1/services", append([]string{"Origin", "null"}, bearer...), 403},
		{"the page's own origin is not", "GET", "/v1/services", append([]string{"Origin", "http://" + host}, bearer...), 200},
		{"another site is refused by what the browser says", "GET", "/v1/services", append([]string{"Sec-Fetch-Site", "cross-site"}, bearer...), 403},
		{"so is another port of the same host", "GET", "/page/live", append([]string{"Sec-Fetch-Site", "same-site"}, bearer...), 403},
		{"an address that was typed is not another site's", "GET", "/", []string{"Sec-Fetch-Site", "none"}, 200},
		{"nothing can be changed", "POST", "/v1/services", bearer, 405},
		{"nor removed", "DELETE", "/v1/services", bearer, 405},
		{"nor asked for in advance by another site", "OPTIONS", "/v1/services", []string{"Origin", "http://evil.example"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := call(t, c.method, at+c.path, c.headers...)
			if status != c.want {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
			if got := header.Get("Content-Security-Policy"); got != policy {
				t.Errorf("policy %q", got)
			}
			for name := range header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s: %s", name, header.Get(name))
				}
			}
		})
	}
}

func TestWithoutATokenEverybodyIsAReader(t *testing.T) {
	at := serve(t, plainDirector(), Config{})
	if status, _, body := call(t, "GET", at+"/v1/services"); status != 200 {
		t.Errorf("status %d: %s", status, body)
	}
}

func TestTheTokenIsAskedForWithoutSayingMore(t *testing.T) {
	at := serve(t, plainDirector(), Config{Token: "secret", Title: "nat", Sources: map[string]Source{"lab": nil}})
	if _, _, body := call(t, "GET", at+"/page/about"); body != `{"token":"needed"}` {
		t.Error(body)
	}
	_, _, body := call(t, "GET", at+"/page/about?token=secret")
	for _, want := range []string{`"title":"nat"`, `"lab"`, `"/v1/services"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestTheDirectorDoesNotSeeTheToken(t *testing.T) {
	d := plainDirector()
	var seen *http.Request
	d.handle("/v1/trace", func(w http.ResponseWriter, r *http.Request) { seen = r.Clone(context.Background()) })
	at := serve(t, d, Config{Token: "secret"})
	call(t, "GET", at+"/v1/trace?n=1&token=secret", "Authorization", "Bearer secret", "Cookie", "a=b", "Last-Event-ID", "7")
	if seen == nil || seen.URL.RawQuery != "n=1" || seen.Header.Get("Authorization") != "" || seen.Header.Get("Cookie") != "" || seen.Header.Get("Last-Event-ID") != "7" {
		t.Errorf("%+v", seen)
	}
}

func TestADirectorThatDoesNotAnswerIsSaidToBeSo(t *testing.T) {
	d := plainDirector()
	at := serve(t, d, Config{})
	d.server.Close()
	status, _, body := call(t, "GET", at+"/v1/services")
	if status != 502 || !strings.Contains(body, "no director answers") {
		t.Errorf("%d %s", status, body)
	}
}

// streamed reads server-sent events until one is of a name, and returns its data and ID.
func streamed(t *testing.T, at, last string, name string) (data, id string) {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", at+"/page/live", nil)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if got := a.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatal(got)
	}
	now := ""
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			now = value
		case field == "id":
			id = value
		case field == "data" && now == name:
			return value, id
		}
	}
	t.Fatal("the stream ended")
	return "", ""
}

func TestTheLiveViewTellsAllAndThenWhatIsNew(t *testing.T) {
	d := plainDirector()
	at := serve(t, d, Config{})
	data, id := streamed(t, at, "", "view")
	var v view
	if err := json.Unmarshal([]byte(data), &v); err != nil || len(v.Order) != 2 || v.Counters["forward"] != 1000 {
		t.Fatalf("%v %v", err, v)
	}
	d.set("/v1/counters", map[string]any{"forward": 1001, "pass": 5})
	data, again := streamed(t, at, id, "change")
	var c change
	if err := json.Unmarshal([]byte(data), &c); err != nil || len(c.Services) != 0 || len(c.Counters) != 1 || c.Counters["forward"] != 1001 {
		t.Errorf("%v %s", err, data)
	}
	if id == again {
		t.Errorf("both are %s", id)
	}
	if data, _ := streamed(t, at, "1-99", "view"); !strings.Contains(data, `"forward":1000`) {
		t.Errorf("who was told by another process gets the whole: %s", data)
	}
}

func TestTheHistoryIsBoundedAndEqualsWhatWasSeen(t *testing.T) {
	l := newLive(nil)
	raw := func(n int) json.RawMessage { return json.RawMessage(strings.Repeat("7", n%5+1)) }
	var last view
	for i := range 3 * liveKept {
		last = view{At: last.At.Add(1), Order: []string{"a"}, Services: map[string]json.RawMessage{"a": raw(i)}, Totals: raw(0), Counters: map[string]uint64{"n": uint64(i)}}
		if i%2 == 0 {
			last.Order = []string{"b", "a"}
			last.Services["b"] = raw(i)
		}
		l.note(last, nil)
	}
	v, list, from, _, _ := l.after(0, false)
	if len(list) != liveKept || from == 0 {
		t.Fatalf("%d changes from %d", len(list), from)
	}
	for _, c := range list {
		v.apply(c)
	}
	want, _ := json.Marshal(last)
	if got, _ := json.Marshal(v); string(got) != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheHistoryOfManyServersIsShort(t *testing.T) {
	l := newLive(nil)
	for i := range 50 {
		text := json.RawMessage(`"` + strings.Repeat(string(rune('a'+i%26)), liveBytes/4) + `"`)
		l.note(view{At: time.Unix(int64(i+1), 0), Order: []string{"a"}, Services: map[string]json.RawMessage{"a": text}}, nil)
		if l.bytes > liveBytes {
			t.Fatalf("%d bytes are kept", l.bytes)
		}
	}
	if v, list, _, _, _ := l.after(0, true); v == nil || len(list) != 3 {
		t.Errorf("%d changes are kept", len(list))
	}
}

func TestConnectionsAreFilteredByWords(t *testing.T) {
	at := serve(t, plainDirector(), Config{})
	for filter, want := range map[string]int{"": 3, "established": 2, "state:established server:10.0.0.11": 1, "ESTABLISHED udp": 0, "client:172.16.0.9:5000": 1, "server:172.16": 0, "fd00::7": 0, "none": 1} {
		_, _, body := call(t, "GET", at+"/page/connections?limit=1&filter="+url.QueryEscape(filter))
		var list connectionList
		if err := json.Unmarshal([]byte(body), &list); err != nil || list.Total != 3 || list.Matched != want || len(list.Connections) > 1 {
			t.Errorf("%q: %v %s", filter, err, body)
		}
	}
	if status, _, body := call(t, "GET", at+"/page/connections?limit=1000000"); status != 400 {
		t.Error(body)
	}
}

func TestASimulationHasTheSchedulersOwnShares(t *testing.T) {
	at := serve(t, plainDirector(), Config{})
	ask := func(workload string) (int, string) {
		status, _, body := call(t, "GET", at+"/page/what-if?schedulers=wrr,rr&workload="+url.QueryEscape(workload))
		return status, body
	}
	status, body := ask(`{"scheduler":"rr","servers":[{"weight":1},{"weight":3}],"connections":400,"rate":100,"lasts":"1s","seed":1}`)
	var result struct{ Twins []twin }
	if err := json.Unmarshal([]byte(body), &result); status != 200 || err != nil || len(result.Twins) != 2 {
		t.Fatal(status, body)
	}
	if got := result.Twins[0].Curve[len(result.Twins[0].Curve)-1].Picks; got[0] != 100 || got[1] != 300 {
		t.Errorf("wrr shares %v by 1:3", got)
	}
	for _, wrong := range []string{"", "{}", `{"servers":[{"weight":1}],"connections":1000000,"rate":1}`, `{"servers":[{"weight":-1}],"rate":1}`, `{"nonsense":1}`} {
		if status, body := ask(wrong); status != 400 {
			t.Errorf("%s: %d %s", wrong, status, body)
		}
	}
}

func TestTheSourcesMakeNoHTMLOfText(t *testing.T) {
	files, err := static.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, f := range files {
		text, _ := static.ReadFile(path.Join("static", f.Name()))
		size += len(text)
		for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "srcdoc", "javascript:", " style=", "onerror="} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has %s", f.Name(), word)
			}
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(strings.ReplaceAll(line, "http://www.w3.org/2000/svg", ""), "//") && strings.Contains(line, "http") {
				t.Errorf("%s names another server: %s", f.Name(), line)
			}
		}
	}
	if size > 150_000 {
		t.Errorf("the page has %d bytes", size)
	}
}
