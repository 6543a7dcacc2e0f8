package lab

import (
	"regexp"
	"strings"
	"testing"

	"uvs/internal/lang"
)

func TestEveryFaultIsExplainedInBothLanguages(t *testing.T) {
	for i := range Faults {
		name := Faults[i].Name
		words, ok := wordsOfFaults[name]
		if !ok {
			t.Errorf("nothing is said about %s", name)
		}
		for _, text := range append(words.hints[:], words.title, words.fix) {
			if !text.Complete() {
				t.Errorf("%s: a text is missing in a language: %+v", name, text)
			}
		}
	}
	if len(wordsOfFaults) != len(Faults) {
		t.Errorf("there are texts about %d faults, and %d faults", len(wordsOfFaults), len(Faults))
	}
}

func TestHintsNameWhatIsInTheLab(t *testing.T) {
	gap := regexp.MustCompile(`\{[a-z]*\}|invalid`)
	for _, name := range Names() {
		topology, err := Build(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range Faults {
			if !Faults[i].Fits(&topology) {
				continue
			}
			f := Inserted{Name: Faults[i].Name, Node: "rs1"}
			words := wordsOfFaults[f.Name]
			for _, text := range append(words.hints[:], words.fix) {
				filled := f.fill(&topology, text)
				for _, language := range lang.Tags {
					if in := filled.In(language); gap.MatchString(in) {
						t.Errorf("%s, %s: %s", name, f.Name, in)
					}
				}
			}
		}
	}
}

// The first hint does not give the place away, and the last one does not say how to mend it.
func TestTheFirstHintNamesNoNode(t *testing.T) {
	for name, words := range wordsOfFaults {
		for _, language := range lang.Tags {
			if strings.Contains(words.hints[0].In(language), "{node}") {
				t.Errorf("%s: %s", name, words.hints[0].In(language))
			}
		}
	}
}

// What mends a service names it as ipvsadm does, whatever it is.
func TestAFixNamesTheServiceAsIpvsadmDoes(t *testing.T) {
	for _, c := range []struct{ topology, fault, noted, want string }{
		{"nat", "neighbour", "-t 10.0.0.2:8080", "ipvsadm -d -t 10.0.0.2:8080 -r "},
		{"cache-farm", "persistence", "-f 1", "ipvsadm -E -f 1 -s "},
		{"nat", "no-server", "", "ipvsadm -e -t 172.16.253.63:80 -r "},
		{"fullnat", "local-address", "-u [fd00::1]:53", "ipvsadm --add-laddr -u [fd00::1]:53 --laddr "},
	} {
		topology, err := Build(c.topology, Options{})
		if err != nil {
			t.Fatal(err)
		}
		f := Inserted{Name: c.fault, Node: "director", Service: c.noted}
		fix := f.Fix(&topology)
		for _, language := range lang.Tags {
			if !strings.Contains(fix.In(language), c.want) {
				t.Errorf("%s: %s; want %s", c.fault, fix.In(language), c.want)
			}
		}
	}
}

func TestTheServiceOfAServerIsNoted(t *testing.T) {
	for name, want := range map[string]string{"cache-farm": "-f 1", "cache-farm6": "-f 1 -6", "nat": "-t 172.16.253.63:80"} {
		topology, err := Build(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := breaker{virtual: topology.serviceOf(topology.RealServers()[0])}
		if got := b.service(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := (&breaker{}).service(); got != "" {
		t.Errorf("without a service: %s", got)
	}
}
