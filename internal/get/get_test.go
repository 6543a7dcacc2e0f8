package get

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestWhatIsPrinted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Real-Server", "Web1")
		switch r.URL.Path {
		case "/":
			_, _ = w.Write([]byte("Web1\n"))
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		default:
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	defer s.Close()
	bare := strings.TrimPrefix(s.URL, "http://")
	for _, c := range []struct {
		name string
		cfg  Config
		want string // a regular expression
		err  string
	}{
		{"the body", Config{URLs: []string{s.URL + "/"}}, `^Web1\n$`, ""},
		{"http is the scheme unless named", Config{URLs: []string{bare}}, `^Web1\n$`, ""},
		{"as often as asked", Config{URLs: []string{bare}, Times: 3}, `^(Web1\n){3}$`, ""},
		{"every URL", Config{URLs: []string{bare, bare}}, `^(Web1\n){2}$`, ""},
		{"headers first", Config{URLs: []string{bare}, Include: true}, `(?s)^HTTP/1.1 200 OK\r\n.*\r\n\r\nWeb1\n$`, ""},
		{"headers only", Config{URLs: []string{bare}, Head: true}, `(?s)^HTTP/1.1 200 OK\r\n.*\r\n\r\n$`, ""},
		{"a line for each answer", Config{URLs: []string{bare}, Progress: true}, `^200 Web1 5 bytes [0-9.]+ ms\n$`, ""},
		{"an error page is a page", Config{URLs: []string{bare + "/x"}}, `^no\n$`, ""},
		{"unless it is to fail", Config{URLs: []string{bare + "/x"}, Fail: true}, `^$`, "404 Not Found"},
		{"a redirect is shown, not followed", Config{URLs: []string{bare + "/moved"}}, `Found`, ""},
		{"one that fails does not stop the others", Config{URLs: []string{"http://127.0.0.1:1/", bare}}, `^Web1\n$`, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Run(t.Context(), c.cfg, &out)
			if !regexp.MustCompile(c.want).MatchString(out.String()) {
				t.Errorf("printed %q, want %s", out.String(), c.want)
			}
			if (err == nil) != (c.err == "") {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}
