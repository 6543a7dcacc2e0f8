// Package lang chooses between the two languages of what a person reads at length:
// lessons, explanations of faults, hints. What programs read, and errors, stay English.
package lang

import (
	"fmt"
	"strings"
)

// Tag is a language.
type Tag string

// The languages.
const (
	EN Tag = "en"
	ZH Tag = "zh"
)

// Tags are all languages, English first.
var Tags = []Tag{EN, ZH}

// Of returns the language that a flag names or, if that is empty, the one of the locale:
// the first of LC_ALL, LC_MESSAGES and LANG that is set decides, as for other programs
// (locale(7)), and whatever is not Chinese is English. env is [os.Getenv] or the like. A
// flag that names neither language is an error.
func Of(flag string, env func(string) string) (Tag, error) {
	if flag != "" {
		t, ok := named(flag)
		if !ok {
			return EN, fmt.Errorf("language %q: it can be en or zh", flag)
		}
		return t, nil
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale := env(name); locale != "" {
			t, _ := named(locale)
			return t, nil
		}
	}
	return EN, nil
}

// named returns the language of a name such as zh, zh_CN.UTF-8 or en-GB.
func named(name string) (t Tag, ok bool) {
	base, _, _ := strings.Cut(strings.ToLower(name), ".")
	base, _, _ = strings.Cut(strings.ReplaceAll(base, "-", "_"), "_")
	if t = Tag(base); t == EN || t == ZH {
		return t, true
	}
	return EN, false
}

// Text is a text in both languages.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// In returns the text in a language.
func (t Text) In(l Tag) string {
	if l == ZH {
		return t.ZH
	}
	return t.EN
}

// Complete reports whether the text is there in both languages: a test of whoever has
// texts asks it.
func (t Text) Complete() bool { return t.EN != "" && t.ZH != "" }

// Textf returns a text made from two formats with the same arguments; a format may take
// them in its own order, as in %[2]s.
func Textf(en, zh string, args ...any) Text {
	return Text{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}
}
