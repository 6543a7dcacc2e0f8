package doctor_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/internal/doctor"
	"uvs/internal/lang"
	"uvs/lab"
	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var (
	every = flag.Bool("every", false, "insert every fault into every lab, in several forms")
	pairs = flag.Int("pairs", 0, "insert as many pairs of faults, chosen at random, into every lab")
	draw  = flag.Uint64("draw", 1, "seed of the choice of pairs")
)

// bench is a lab for faults, and the program that is to find them.
type bench struct {
	*testing.T
	l    *lab.Lab
	path string // in which uvs is found

	checked bool // each fault is seen by the lab's checks, too
}

func newBench(t *testing.T, topology string, o lab.Options) *bench {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("faults are inserted by ip(8), which is not installed")
	}
	l := labtest.Start(t, labtest.Build(t, topology, o))
	dir := t.TempDir()
	if err := os.Symlink(labtest.Program(t), filepath.Join(dir, "uvs")); err != nil {
		t.Fatal(err)
	}
	return &bench{T: t, l: l, path: dir + ":" + os.Getenv("PATH")}
}

// uvs runs the program outside the lab and returns its output and status.
func (b *bench) uvs(words ...string) (string, int) {
	b.Helper()
	cmd := exec.Command(labtest.Program(b), words...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.Fatal(err)
	}
	if errs.Len() > 0 {
		b.Fatalf("uvs %s: %s", strings.Join(words, " "), errs.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// report asks the doctor.
func (b *bench) report() (r doctor.Report) {
	b.Helper()
	out, status := b.uvs("doctor", "--lab", b.l.Name, "--json", "--for", "200ms")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if status != r.Status() {
		b.Errorf("exit status %d, %d expected", status, r.Status())
	}
	return r
}

// healthy fails the test unless the doctor finds nothing and the client is served.
func (b *bench) healthy() bool {
	b.Helper()
	r := b.report()
	for try := 1; len(r.Findings) > 0 && try < 5; try++ {
		r = b.report() // the first may count what was under way when the fault was mended
	}
	if len(r.Findings) > 0 {
		b.Errorf("found in a healthy lab:\n%s", text(&r))
		return false
	}
	if _, err := b.l.Get("client", b.l.Topology.URL("/")); err != nil {
		b.Errorf("nothing found, and the client is not served: %v", err)
		return false
	}
	return true
}

// mend types the commands of a finding.
func (b *bench) mend(f *doctor.Finding) {
	b.Helper()
	if len(f.Fix) == 0 {
		b.Errorf("%s %s: no command mends it", f.Code, f.Name)
	}
	for _, x := range f.Fix {
		var out []byte
		var err error
		if x.On != "" {
			_, err = b.l.Exec(x.On, "sh", "-c", x.Command)
		} else {
			cmd := exec.Command("sh", "-c", x.Command)
			cmd.Env = append(os.Environ(), "PATH="+b.path)
			out, err = cmd.CombinedOutput()
		}
		if err != nil {
			b.Errorf("%s %s: %s: %v: %s", f.Code, f.Name, x.Command, err, out)
		}
	}
}

// insert inserts faults and returns their codes, as reveal names them.
func (b *bench) insert(seed int, names ...string) (codes []string) {
	b.Helper()
	for _, name := range names {
		if _, status := b.uvs("lab", "break", name, "--seed", fmt.Sprint(seed), "--lab", b.l.Name); status != 0 {
			b.Fatalf("lab break %s: status %d", name, status)
		}
		var revealed struct{ Code string }
		out, _ := b.uvs("lab", "reveal", "--json", "--lab", b.l.Name)
		if err := json.Unmarshal([]byte(out), &revealed); err != nil {
			b.Fatal(err)
		}
		codes = append(codes, revealed.Code)
	}
	return codes
}

func text(r *doctor.Report) string {
	var out strings.Builder
	_ = r.Print(&out, lang.EN)
	return out.String()
}

// names returns the faults that fit a lab.
func (b *bench) names() (names []string) {
	for i := range lab.Faults {
		if f := &lab.Faults[i]; f.Fits(&b.l.Topology) {
			names = append(names, f.Name)
		}
	}
	return names
}

// needsNFT are the faults that are rules of nftables.
var needsNFT = []string{"firewall", "firewall-unseen", "conntrack", "synproxy"}

// fault inserts one fault, has it found, mends it as the doctor says, and sees that the lab
// is healthy again.
func (b *bench) fault(seed int, name string) {
	b.Helper()
	if _, err := exec.LookPath("nft"); err != nil && slices.Contains(needsNFT, name) {
		b.Logf("%s is left out: nft is not installed", name)
		return
	}
	want := b.insert(seed, name)[0]
	if b.checked {
		b.seenByChecks(name)
	}
	r := b.report()
	if len(r.Findings) == 0 || r.Findings[0].Code != want {
		b.Fatalf("%s %s was inserted, not found first:\n%s", want, name, text(&r))
	}
	for i := range r.Findings {
		b.mend(&r.Findings[i])
	}
	if !b.healthy() {
		b.Fatalf("after %s %s was mended", want, name)
	}
	if b.checked {
		b.forget()
		b.checks(30*time.Second, 0)
	}
}

// The faults that each lab is tried with in every run of the tests: together all of them.
var tried = map[string][]string{
	"nat":     {"no-return", "same-subnet", "firewall", "double-forward", "kernel-rst", "left-out", "no-listener", "persistence", "rules-lost"},
	"dr":      {"arp-conflict", "mask", "listen", "port-map", "self-client", "conntrack", "synproxy", "vip-missing", "neighbour", "mark-unset"},
	"tun":     {"no-decap", "rp-filter", "mtu", "vip-taken", "no-forwarding", "inactive-grows", "no-server"},
	"fullnat": {"local-address", "link-down", "firewall-unseen", "drop-rate", "no-director", "two-directors"},
}

func TestEveryFaultIsFoundFirstAndItsCommandMendsIt(t *testing.T) {
	t.Parallel()
	for _, topology := range []string{"nat", "dr", "tun", "fullnat"} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, topology, lab.Options{})
			b.checked = true
			b.healthy()
			for i, name := range tried[topology] {
				b.fault(i, name)
			}
		})
	}
}

func TestEveryFaultIsTried(t *testing.T) {
	for i := range lab.Faults {
		name := lab.Faults[i].Name
		found := false
		for _, names := range tried {
			found = found || slices.Contains(names, name)
		}
		if !found {
			t.Errorf("%s is in no list of faults to try", name)
		}
	}
}

func TestHealthyLabsHaveNoFindings(t *testing.T) {
	t.Parallel()
	names := []string{"nat6", "dr-gateway", "mixed", "two-vips", "cache-farm"}
	if *every {
		names = lab.Names()
	}
	for _, topology := range names {
		for _, o := range []lab.Options{{}, {VIPElsewhere: true, MTU: 1400, NoOffload: true, RealServers: 1}, {Bare: true}} {
			if !*every && (o.MTU == 0 && topology == "nat6" || o.MTU != 0 && topology == "two-vips" || o.Bare && topology != "dr-gateway") {
				continue
			}
			t.Run(fmt.Sprint(topology, " ", o), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, topology, o)
				if r := b.report(); len(r.Findings) > 0 {
					t.Error(text(&r))
				}
			})
		}
	}
}

func TestTwoFaultsAreBothFound(t *testing.T) {
	t.Parallel()
	b := newBench(t, "nat", lab.Options{})
	b.pair(3, "no-return", "no-listener")
	b.pair(4, "mtu", "persistence")
}

func TestRandomPairsOfFaultsAreBothFound(t *testing.T) {
	if *pairs == 0 {
		t.Skip("only with -pairs")
	}
	for i, topology := range lab.Names() {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			b, random := newBench(t, topology, lab.Options{}), rand.New(rand.NewPCG(*draw, uint64(i)))
			names := b.names()
			for n := 0; n < *pairs; {
				first, second := names[random.IntN(len(names))], names[random.IntN(len(names))]
				if first != second && !excludes(first, second) {
					b.pair(random.IntN(100), first, second)
					n++
				}
			}
		})
	}
}

// excludes reports whether the second fault cannot be inserted after the first, or hides it:
// both are about the same thing.
func excludes(first, second string) bool {
	for _, all := range []string{"no-director", "kernel-rst", "double-forward", "left-out", "rules-lost"} {
		if first == all || second == all {
			return true // the director is another, or without services
		}
	}
	same := [][]string{{"mask", "vip-missing"}, {"no-listener", "listen"}, {"conntrack", "synproxy", "firewall-unseen"}, {"no-return", "link-down", "same-subnet"}}
	return slices.ContainsFunc(same, func(g []string) bool { return slices.Contains(g, first) && slices.Contains(g, second) })
}

// pair inserts two faults, of which one has to be found first, and both in the end, as one
// may hide the other until it is mended.
func (b *bench) pair(seed int, names ...string) {
	b.Helper()
	want := b.insert(seed, names...)
	seen := map[string]bool{}
	for range 4 {
		r := b.report()
		if len(r.Findings) == 0 {
			break
		}
		if len(seen) == 0 && !slices.Contains(want, r.Findings[0].Code) {
			b.Fatalf("%v: not found first:\n%s", names, text(&r))
		}
		for i := range r.Findings {
			seen[r.Findings[i].Code] = true
			b.mend(&r.Findings[i])
		}
	}
	for i, code := range want {
		if !seen[code] {
			b.Errorf("%v: %s %s was not found", names, code, names[i])
		}
	}
	if !b.healthy() {
		b.Fatalf("after %v were mended", names)
	}
}

func TestEveryFaultInEveryLab(t *testing.T) {
	t.Parallel()
	if !*every {
		t.Skip("only with -every")
	}
	for _, topology := range lab.Names() {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, topology, lab.Options{})
			for _, name := range b.names() {
				for seed := range 2 {
					b.fault(seed, name)
				}
			}
		})
	}
}

func TestRandomFaultsAreHiddenAndTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "dr", lab.Options{})
	first, err := lab.RandomFault(&b.l.Topology, 7)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := b.uvs("lab", "break", "random", "--seed", "7", "--lab", b.l.Name)
	if strings.Contains(out, first.Name) || strings.Contains(out, first.Code) {
		t.Errorf("break tells: %s", out)
	}
	if text, _ := b.uvs("lab", "inspect", "--lab", b.l.Name, "--json"); strings.Contains(text, first.Code) {
		t.Error("inspect tells")
	}
	if text, _ := b.uvs("lab", "reveal", "--lab", b.l.Name); !strings.Contains(text, first.Code) {
		t.Errorf("reveal does not name %s: %s", first, text)
	}
}
