package control

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"uvs/forwarder/config"
)

// bodies has a valid body for each request that has one.
var bodies = []struct{ method, path, body string }{
	{"POST", "/v1/services", `{"mark":7,"scheduler":"rr"}`},
	{"PUT", "/v1/services/tcp:10.0.0.1:80", aService},
	{"POST", "/v1/services/tcp:10.0.0.1:80/servers", `{"address":"10.1.0.2","port":80}`},
	{"PUT", "/v1/services/tcp:10.0.0.1:80/servers/10.1.0.1:80", `{"weight":3}`},
	{"PUT", "/v1/services/tcp:10.0.0.1:80/policy", `{"gone":"reset"}`},
	{"POST", "/v1/batch", `{"commands":[{"op":"zero"}]}`},
	{"PUT", "/v1/marks", `[{"mark":5}]`},
	{"POST", "/v1/marks", `{"mark":6}`},
	{"POST", "/v1/marks/delete", `{"mark":5}`},
	{"PUT", "/v1/timeouts", `{"tcp":900}`},
	{"POST", "/v1/daemons", `{"state":"master","interface":"eth0"}`},
}

// TestEveryBodyIsReadStrictly sends each request with ambiguous or invalid JSON: it is refused
// with the name of a field, and nothing changes.
func TestEveryBodyIsReadStrictly(t *testing.T) {
	socket, d := start(t)
	ask(t, socket, "POST", "/v1/services", aService)
	ask(t, socket, "POST", "/v1/services/tcp:10.0.0.1:80/servers", `{"address":"10.1.0.1","port":80}`)
	deep := strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000)
	for _, b := range bodies {
		first, name := strings.Index(b.body, `"`), ""
		fmt.Sscanf(b.body[first:], "%q", &name)
		broken := map[string]string{
			"null":               `null`,
			"a number":           `1`,
			"nothing":            ``,
			"a value cut short":  b.body[:len(b.body)-1],
			"two values":         b.body + b.body,
			"a comma behind":     b.body + `,`,
			"a byte behind":      b.body + "\x00",
			"an unknown field":   strings.Replace(b.body, `{`, `{"colour":1,`, 1),
			"a field as null":    strings.Replace(b.body, `{`, `{"colour":null,`, 1),
			"another case":       strings.Replace(b.body, name, strings.ToUpper(name), 1),
			"one field twice":    strings.Replace(b.body, `{`, b.body[strings.Index(b.body, `{`):first+len(name)+2]+`:1,`, 1),
			"a field twice":      strings.Replace(b.body, `}`, `,`+b.body[first:strings.LastIndex(b.body, `}`)+1], 1),
			"text not in UTF-8":  strings.Replace(b.body, name, name+"\xff", 1),
			"half a surrogate":   strings.Replace(b.body, name, name+`\ud800`, 1),
			"very deep nesting":  strings.Replace(b.body, `{`, `{"colour":`+deep+`,`, 1),
			"nothing but nested": deep,
		}
		for what, body := range broken {
			var p *config.Problem
			status, text := ask(t, socket, b.method, b.path, body)
			if status != http.StatusBadRequest || !errors.As(problemOf(t, text), &p) || p.Code != "invalid" || p.Field == "" || p.Message == "" {
				t.Errorf("%s %s with %s: status %d, %.200s", b.method, b.path, what, status, text)
			}
			if n := len(d.Services()); n != 1 || len(d.Marks()) != 0 || len(d.Daemons()) != 0 {
				t.Fatalf("%s %s with %s was refused and changed something", b.method, b.path, what)
			}
		}
	}
	for _, b := range bodies {
		if status, text := ask(t, socket, b.method, b.path, b.body); status > 299 {
			t.Errorf("%s %s %s: %d %s", b.method, b.path, b.body, status, text)
		}
	}
}

func TestTheFieldToBlameIsNamedAnywhere(t *testing.T) {
	socket, d := start(t)
	ask(t, socket, "POST", "/v1/services", aService)
	for _, c := range []struct{ name, method, path, body, field, says string }{
		{"null for a rule", "PUT", "/v1/marks", `[null]`, "[0]", "null"},
		{"null for a rule after others", "PUT", "/v1/marks", `[{"mark":1},{"mark":2},null]`, "[2]", "null"},
		{"null for all rules", "PUT", "/v1/marks", `null`, "body", "null"},
		{"null for a mark", "PUT", "/v1/marks", `[{"mark":null}]`, "[0].mark", "null"},
		{"null for a range of ports", "POST", "/v1/marks", `{"mark":1,"source_ports":null}`, "source_ports", "null"},
		{"null for the commands", "POST", "/v1/batch", `{"commands":null}`, "commands", "null"},
		{"null for a command", "POST", "/v1/batch", `{"commands":[null]}`, "commands[0]", "null"},
		{"null for a command's server", "POST", "/v1/batch", `{"commands":[{"op":"clear","server":null}]}`, "commands[0].server", "null"},
		{"null for a port", "POST", "/v1/batch", `{"commands":[{"op":"add-server","server":{"port":null}}]}`, "commands[0].server.port", "null"},
		{"null for a local address", "POST", "/v1/services", `{"mark":1,"local_addresses":["10.0.0.7",null]}`, "local_addresses[1]", "null"},
		{"null for a flag", "POST", "/v1/services", `{"mark":1,"one_packet":null}`, "one_packet", "null"},
		{"a rule without a mark", "PUT", "/v1/marks", `[{"mark":1},{}]`, "[1]", "needs a mark"},
		{"a batch without commands", "POST", "/v1/batch", `{}`, "commands", "needs them"},
		{"a mark twice", "PUT", "/v1/marks", `[{"mark":1,"mark":2}]`, "[0].mark", "twice"},
		{"a mark twice, once in other characters", "PUT", "/v1/marks", `[{"mark":1,"\u006dark":2}]`, "[0].mark", "twice"},
		{"a server's weight twice", "POST", "/v1/batch", `{"commands":[{"op":"clear"},{"op":"add-server","server":{"weight":1,"weight":1}}]}`, "commands[1].server.weight", "twice"},
		{"an unknown field in a server", "POST", "/v1/batch", `{"commands":[{"op":"add-server","server":{"wieght":1}}]}`, "commands[0].server.wieght", "no such field"},
		{"a number with a fraction", "POST", "/v1/marks", `{"mark":1.5}`, "mark", "1.5"},
		{"a negative mark", "POST", "/v1/marks", `{"mark":-1}`, "mark", "-1"},
		{"a number as text", "POST", "/v1/marks", `{"mark":"1"}`, "mark", "a text"},
		{"text that is no range", "POST", "/v1/marks", `{"mark":1,"source_ports":"9:1"}`, "source_ports", ""},
		{"text not in UTF-8", "PUT", "/v1/sysctl/sloppy_tcp", "{\"value\":\"\xff\"}", "body", "UTF-8"},
	} {
		var p *config.Problem
		status, text := ask(t, socket, c.method, c.path, c.body)
		if status != http.StatusBadRequest || !errors.As(problemOf(t, text), &p) || p.Field != c.field || !strings.Contains(p.Message, c.says) {
			t.Errorf("%s: status %d, %s, want the field %q and %q", c.name, status, text, c.field, c.says)
		}
		if len(d.Marks()) != 0 || len(d.Services()) != 1 {
			t.Fatalf("%s was refused and changed something", c.name)
		}
	}
}

// BenchmarkDecode reads a batch of 10,000 commands.
func BenchmarkDecode(b *testing.B) {
	command := `{"op":"add-server","service":{"protocol":"tcp","address":"10.0.0.1","port":80},"server":{"address":"10.1.0.1","port":80,"method":"masq"}}`
	body := `{"commands":[` + strings.Repeat(command+",", 9999) + command + `]}`
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		var batch config.Batch
		if err := decode(strings.NewReader(body), &batch); err != nil || len(batch.Commands) != 10000 {
			b.Fatal(err)
		}
	}
}
