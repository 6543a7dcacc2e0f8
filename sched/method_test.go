package sched

import "testing"

func TestMethodsAnswerForThemselves(t *testing.T) {
	for _, c := range []struct {
		m                            Method
		translates, local, direct    bool
		masquerades, encapsulates    bool
		word, listed, option, letter string
	}{
		{m: Masq, translates: true, masquerades: true, word: "masq", listed: "Masq", option: "masquerading", letter: "m"},
		{m: Local, word: "local", listed: "Local"},
		{m: Tunnel, direct: true, encapsulates: true, word: "tunnel", listed: "Tunnel", option: "ipip", letter: "i"},
		{m: Route, direct: true, word: "route", listed: "Route", option: "gatewaying", letter: "g"},
		{m: Bypass, word: "bypass", listed: "Bypass"},
		{m: FullNAT, translates: true, local: true, word: "fullnat", listed: "FullNat", option: "fullnat"},
	} {
		if c.m.Translates() != c.translates || c.m.NeedsLocal() != c.local || c.m.Direct() != c.direct ||
			c.m.Masquerades() != c.masquerades || c.m.Encapsulates() != c.encapsulates {
			t.Errorf("%v: translates %v, needs local %v, direct %v, masquerades %v, encapsulates %v", c.m,
				c.m.Translates(), c.m.NeedsLocal(), c.m.Direct(), c.m.Masquerades(), c.m.Encapsulates())
		}
		word, _ := c.m.MarshalText()
		tr := c.m.Traits()
		letter := ""
		if tr.Letter != 0 {
			letter = string(tr.Letter)
		}
		if string(word) != c.word || c.m.String() != c.listed || tr.Option != c.option || letter != c.letter {
			t.Errorf("%v: word %s, option %q, letter %q", c.m, word, tr.Option, letter)
		}
	}
	if Method(7).Direct() || Method(7).String() != "Unknown" {
		t.Error("a number without a method has traits")
	}
}

func TestMethodsThatCannotBeDefined(t *testing.T) {
	for because, tr := range map[string]Traits{
		"no word":                         {Listed: "New", Option: "new"},
		"no name in listings":             {Word: "new", Option: "new"},
		"no option":                       {Word: "new", Listed: "New"},
		"a word that is taken":            {Word: "masq", Listed: "New", Option: "new"},
		"a name that is taken":            {Word: "new", Listed: "Masq", Option: "new"},
		"an option that is taken":         {Word: "new", Listed: "New", Option: "fullnat"},
		"a letter that is taken":          {Word: "new", Listed: "New", Option: "new", Letter: 'g'},
		"local addresses without replies": {Word: "new", Listed: "New", Option: "new", NeedsLocal: true},
		"a gateway without replies":       {Word: "new", Listed: "New", Option: "new", Masquerades: true},
	} {
		if err := tr.check(); err == nil {
			t.Errorf("%s: no error", because)
		}
	}
	ok := Traits{Word: "new", Listed: "New", Option: "new", Translates: true, NeedsLocal: true}
	if err := ok.check(); err != nil {
		t.Error(err)
	}
}
