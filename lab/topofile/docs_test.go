package topofile_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
	"uvs/lab/topofile"
)

func TestMain(m *testing.M) { labtest.Main(m) }

const page = "../../docs/topology.md"

// examples returns the files that the page shows.
func examples(t *testing.T) (all []string, text string) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		all = append(all, m[1])
	}
	return all, string(b)
}

func TestEachWordIsInTheDocument(t *testing.T) {
	_, text := examples(t)
	var inCode []string
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		inCode = append(inCode, m[1])
	}
	for _, w := range topofile.Words() {
		if !slices.Contains(inCode, w) {
			t.Errorf("%s does not explain the word %s", page, w)
		}
	}
}

func TestEachExampleOfTheDocumentIsATopology(t *testing.T) {
	all, _ := examples(t)
	if len(all) < 3 {
		t.Fatalf("%s has %d examples", page, len(all))
	}
	for i, text := range all {
		topology, err := topofile.Parse("example.yaml", []byte(text))
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
			continue
		}
		again(t, &topology)
	}
}

// The complete example of the document keeps what it promises.
func TestTheExampleOfTheDocumentWorks(t *testing.T) {
	t.Parallel()
	all, _ := examples(t)
	topology, err := topofile.Parse("example.yaml", []byte(all[0]))
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.Start(t, topology)
	for _, c := range topology.Checks {
		c.Within = 30 * time.Second
		if r := c.Run(context.Background(), l); !r.OK {
			t.Error(r.Err())
		}
	}
}

// The example of services runs, with a service in it that asks the lab about itself, and is
// exported with its links as they have become.
func TestTheExampleOfServicesRuns(t *testing.T) {
	t.Parallel()
	all, _ := examples(t)
	topology, err := topofile.Parse("example.yaml", []byte(all[1]))
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.Start(t, topology)
	for link, words := range map[string]string{"rs1": "delay=20ms loss=50%", "director": "down"} {
		if _, err := l.Impair(lab.LinkChange{Link: link, Words: words}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Services {
		if !s.Running {
			t.Errorf("%s of %s does not run", s.Name, s.Node)
		}
	}
	now := info.Now()
	text, err := topofile.Format(&now)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"{to: director:eth0, down: true}", "{to: rs1:eth0, delay: 20ms, loss: 50%}"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got\n%s\nwant %s in it", text, want)
		}
	}
}
