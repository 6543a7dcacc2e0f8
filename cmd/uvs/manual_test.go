package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/internal/ipvsadm"
	"uvs/internal/manual"
)

// pages writes all man pages, those written by hand among them, and returns their paths.
func pages(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	if err := manual.Write(dir, rootCmd(), time.Unix(0, 0), byHand); err != nil {
		t.Fatal(err)
	}
	written, _ := filepath.Glob(filepath.Join(dir, "*.8"))
	hand, _ := filepath.Glob("../../packaging/man/*.8")
	return slices.Concat(written, hand)
}

func TestEveryCommandHasAManPage(t *testing.T) {
	var names []string
	for _, p := range pages(t) {
		names = append(names, filepath.Base(p))
	}
	for _, c := range rootCmd().Commands() {
		if !c.Hidden && !slices.Contains(names, "uvs-"+c.Name()+".8") {
			t.Errorf("uvs %s has none", c.Name())
		}
	}
	if !slices.Contains(names, "uvs.8") {
		t.Error("uvs has none")
	}
}

func TestThePageOfUvsNamesEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/uvs.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rootCmd().Commands() {
		if !c.Hidden && !strings.Contains(string(text), ".Xr uvs-"+c.Name()+" 8") {
			t.Errorf("uvs %s is not in packaging/man/uvs.8", c.Name())
		}
	}
}

func TestThePageOfIpvsadmNamesEveryOption(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/uvs-ipvsadm.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range ipvsadm.Options() {
		macro := " Fl " + strings.TrimPrefix(word, "-")
		if long, ok := strings.CutPrefix(word, "--"); ok {
			macro = " Fl Fl " + long
		}
		if !strings.Contains(string(text), macro) {
			t.Errorf("%s is not in it", word)
		}
	}
}

func TestMandocFindsNothingInThePages(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("needs mandoc")
	}
	out, _ := exec.Command(mandoc, append([]string{"-T", "lint"}, pages(t)...)...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		// Our pages refer to each other, and are not installed where they are tested.
		if !strings.Contains(line, "referenced manual not found: Xr uvs") {
			t.Error(line)
		}
	}
}
