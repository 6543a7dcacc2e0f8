package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uvs/bench"
	"uvs/bench/report"
	"uvs/internal/page"
)

func TestThePageHasTheReportsOfADirectoryAndNoOtherFile(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "reports")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	r := bench.Report{Run: report.Run{Schema: report.Schema, Kind: "quick", Partial: "interrupted"}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secret.json", "reports/old.json", "reports/new.json", "reports/notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.json", filepath.Join(inside, "link.json")); err != nil {
		t.Fatal(err)
	}
	c := page.Config{Sources: map[string]page.Source{}}
	if err := (&webFlags{reports: inside}).addSources(&c); err != nil {
		t.Fatal(err)
	}
	ask := func(source string, query ...string) (string, error) {
		values := url.Values{}
		for i := 0; i < len(query); i += 2 {
			values.Set(query[i], query[i+1])
		}
		result, err := c.Sources[source](t.Context(), values)
		text, _ := json.Marshal(result)
		return string(text), err
	}
	list, err := ask("reports")
	if err != nil || !strings.Contains(list, "old.json") || !strings.Contains(list, "new.json") || strings.Contains(list, "notes") || strings.Contains(list, "link") {
		t.Errorf("%v %s", err, list)
	}
	if one, err := ask("report", "name", "new.json"); err != nil || !strings.Contains(one, `"kind":"quick"`) || !strings.Contains(one, "This report is partial: interrupted") {
		t.Errorf("%v %s", err, one)
	}
	if changes, err := ask("compare", "old", "old.json", "new", "new.json"); err != nil || !strings.Contains(changes, "changes") {
		t.Errorf("%v %s", err, changes)
	}
	for _, name := range []string{"../secret.json", "link.json", filepath.Join(dir, "secret.json"), "", "none.json"} {
		if one, err := ask("report", "name", name); !errors.Is(err, page.ErrBadQuestion) {
			t.Errorf("%q: %v %s", name, err, one)
		}
	}
}

func TestTheTokenIsKeptInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	first, err := webToken(file)
	if err != nil || len(first) < 16 {
		t.Fatal(first, err)
	}
	if again, err := webToken(file); err != nil || again != first {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	if other, _ := webToken(""); other == first {
		t.Error("a new token is the old one")
	}
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := webToken(file); err == nil {
		t.Error("a short token is taken")
	}
}

func TestTheAddressToOpen(t *testing.T) {
	for _, c := range []struct{ listen, token, want string }{
		{"127.0.0.1:8480", "abc", "http://127.0.0.1:8480/#token=abc"},
		{"127.0.0.1:8480", "", "http://127.0.0.1:8480/"},
		{"[::]:8480", "abc", "http://localhost:8480/#token=abc"},
		{"[::1]:8480", "abc", "http://[::1]:8480/#token=abc"},
	} {
		a, err := net.ResolveTCPAddr("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := webURL(a, c.token); got != c.want {
			t.Errorf("%s: %s, want %s", c.listen, got, c.want)
		}
	}
}
