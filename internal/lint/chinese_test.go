package lint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// translated are the pages that there are in Chinese, by the English one.
var translated = map[string]string{
	"README.md":          "README.zh.md",
	"docs/tutorial.md":   "docs/zh/tutorial.md",
	"docs/lab.md":        "docs/zh/lab.md",
	"docs/learn.md":      "docs/zh/learn.md",
	"docs/schedulers.md": "docs/zh/schedulers.md",
	"docs/doctor.md":     "docs/zh/doctor.md",
}

// Each page that there is in Chinese has the same headings, paragraphs, items and rows in the
// same order as in English, the same code, and links to the same places: so whoever adds
// something in English is told what is missing in Chinese.
func TestTheChinesePagesHaveWhatTheEnglishOnesHave(t *testing.T) {
	for english, chinese := range translated {
		t.Run(chinese, func(t *testing.T) {
			p := pair{t, english, chinese}
			en, zh := p.head(english, chinese), p.head(chinese, english)
			if !p.sameOutline(en, zh) {
				return
			}
			for i := range en {
				p.compare(en[i], zh[i])
			}
			p.compareLinks(en, zh)
		})
	}
}

func TestEachChinesePageIsCompared(t *testing.T) {
	found, err := filepath.Glob("../../docs/zh/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range found {
		name := filepath.Base(page)
		if translated["docs/"+name] != "docs/zh/"+name {
			t.Errorf("docs/zh/%s is not in the list of this test", name)
		}
	}
}

// pair is a page in both languages.
type pair struct {
	t                *testing.T
	english, chinese string
}

// miss reports what is wrong at a block of the English page, and what to do.
func (p pair) miss(en block, format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("%s:%d, section %q: "+format+"\n%s has to say the same: write it there in Chinese, in the same place",
		append(append([]any{p.english, en.line, en.section}, args...), p.chinese)...)
}

// head returns the blocks of a page, but for the link to the other language, which each has
// below its title.
func (p pair) head(page, other string) []block {
	p.t.Helper()
	all := blocks(read(p.t, page))
	if len(all) < 3 || len(all[1].links()) != 1 {
		p.t.Fatalf("%s does not begin with a title and a link to %s", page, other)
	}
	if to, _ := resolve(page, all[1].links()[0]); to != other {
		p.t.Fatalf("%s links to %s below its title, not to %s", page, to, other)
	}
	return slices.Delete(all, 1, 2)
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sameOutline compares how many blocks of which kind the sections have, and in what order.
func (p pair) sameOutline(en, zh []block) bool {
	p.t.Helper()
	ours, theirs := sections(en), sections(zh)
	for i := range max(len(ours), len(theirs)) {
		switch {
		case i >= len(theirs):
			p.miss(ours[i][0], "the section is not in Chinese")
		case i >= len(ours):
			p.t.Errorf("%s:%d: the section %q is not in English", p.chinese, theirs[i][0].line, theirs[i][0].text)
		case !slices.Equal(kinds(ours[i]), kinds(theirs[i])):
			p.miss(ours[i][0], "it consists of: %s\nin Chinese (%q, line %d): %s",
				strings.Join(kinds(ours[i]), ", "), theirs[i][0].text, theirs[i][0].line, strings.Join(kinds(theirs[i]), ", "))
		default:
			continue
		}
		return false
	}
	return true
}

// sections cuts blocks before each heading.
func sections(all []block) (cut [][]block) {
	for _, b := range all {
		if len(cut) == 0 || strings.HasPrefix(b.kind, "heading") {
			cut = append(cut, nil)
		}
		cut[len(cut)-1] = append(cut[len(cut)-1], b)
	}
	return cut
}

// kinds lists the kinds of blocks, those in a row together, as in "heading 2, paragraph, 3 × row".
func kinds(all []block) (list []string) {
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n].kind == all[i].kind {
			n++
		}
		if n > 1 {
			list = append(list, fmt.Sprintf("%d × %s", n, all[i].kind))
		} else {
			list = append(list, all[i].kind)
		}
		i += n
	}
	return list
}

// compare compares what has to be the same in two blocks of one kind.
func (p pair) compare(en, zh block) {
	p.t.Helper()
	if en.kind == "code" {
		if strings.Contains(zh.text, " --lang zh\n") && en.typed() == zh.typed() {
			return // the same commands, and their output in Chinese
		}
		if line, ok := missingLine(en.code(), zh.code()); ok {
			p.miss(en, "this line of code is not in the Chinese (line %d), comments aside:\n%s", zh.line, line)
		}
		return
	}
	if en.cells() != zh.cells() && en.kind == "row" {
		p.miss(en, "a row of %d cells, in Chinese (line %d) %d", en.cells(), zh.line, zh.cells())
	}
	if lost := without(en.spans(), zh.spans()); len(lost) > 0 {
		p.miss(en, "%s is not in the Chinese (line %d)", lost, zh.line)
	}
	if en.kind != "row" && zh.text == en.text && len(strings.Fields(span.ReplaceAllString(en.text, ""))) > 4 {
		p.miss(en, "the Chinese page has the English text")
	}
}

// missingLine returns the first line of code that other code does not have, in the same order.
func missingLine(code, other string) (line string, missing bool) {
	rest := strings.Split(other, "\n")
	for line := range strings.SplitSeq(code, "\n") {
		i := slices.Index(rest, line)
		if i < 0 {
			return line, true
		}
		rest = rest[i+1:]
	}
	return "", false
}

// without returns those that are not among others.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// compareLinks compares where the sections lead to: sentences may be cut otherwise in Chinese.
func (p pair) compareLinks(en, zh []block) {
	p.t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for i, b := range en {
		for _, to := range p.targets(b) {
			want[to] = true
		}
		for _, to := range resolved(p.chinese, zh[i]) {
			got[to] = true
		}
		if i+1 < len(en) && !strings.HasPrefix(en[i+1].kind, "heading") {
			continue
		}
		if lost := without(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); len(lost) > 0 {
			p.miss(b, "this section links to %s, in Chinese (to line %d) it does not", lost, zh[i].line)
		}
		clear(want)
		clear(got)
	}
}

// targets returns where the Chinese of an English block has to link to: to the Chinese page if
// there is one.
func (p pair) targets(en block) []string {
	var all []string
	for _, l := range en.links() {
		file, place := resolve(p.english, l)
		if chinese := translated[file]; chinese != "" {
			file, place = chinese, p.samePlace(file, place)
		}
		all = append(all, join(file, place))
	}
	slices.Sort(all)
	return all
}

func resolved(page string, b block) []string {
	var all []string
	for _, l := range b.links() {
		all = append(all, join(resolve(page, l)))
	}
	slices.Sort(all)
	return all
}

func join(file, place string) string {
	if place == "" {
		return file
	}
	return file + "#" + place
}

// samePlace returns the heading of a Chinese page that has the number of an English heading.
func (p pair) samePlace(file, place string) string {
	en, zh := headings(read(p.t, file)), headings(read(p.t, translated[file]))
	if i := slices.Index(en, place); i >= 0 && i < len(zh) {
		return zh[i]
	}
	return place
}

// headings returns the names of a page's headings.
func headings(page string) []string {
	var all []string
	for _, b := range blocks(page) {
		if strings.HasPrefix(b.kind, "heading") {
			all = append(all, slug(b.text))
		}
	}
	return all
}
