package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestALicenceIsKnownByItsText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"MIT", "Permission is hereby granted, free\nof charge, to any person", "MIT"},
		{"Apache", "Apache License\n Version 2.0, January 2004", "Apache-2.0"},
		{"both", "Permission is hereby granted, free of charge … Apache License, Version 2.0", "MIT AND Apache-2.0"},
		{"BSD with three clauses", "Redistribution and use in source and binary forms … Neither the name of", "BSD-3-Clause"},
		{"BSD with two", "Redistribution and use in source and\nbinary forms, with or", "BSD-2-Clause"},
		{"the GPL is not linked", "GNU GENERAL PUBLIC LICENSE Version 2 … Apache License Version 2.0", ""},
		{"unknown", "All rights reserved.", ""},
	} {
		if got := licenceOf(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAModuleWithoutAKnownLicenceIsAnError(t *testing.T) {
	m := module{path: "example.org/m"}
	if err := m.read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "example.org/m: no licence") {
		t.Errorf("got %v", err)
	}
}

// built builds a binary as it is packaged.
func built(t *testing.T) (path string, linked []module) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "uvs")
	if err := (&release{source: "../.."}).build(path, runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	linked, err := linkedIn(path, "../..")
	if err != nil {
		t.Fatal(err)
	}
	return path, linked
}

func TestWhatIsLinkedIsListedWithItsLicence(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	if _, err := os.Stat("../../vendor"); err == nil {
		t.Skip("needs the licences of modules, which are not in vendor")
	}
	path, linked := built(t)
	text, err := copyright(linked)
	if err != nil {
		t.Fatal(err)
	}
	r := release{version: "1.0", at: time.Unix(0, 0).UTC()}
	bill, err := r.bill(path, linked)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(bill, &d); err != nil {
		t.Fatal(err)
	}
	for _, m := range linked {
		if !strings.Contains(string(text), "  "+m.path+" "+m.version+": "+m.licence) {
			t.Errorf("%s is not in copyright", m.path)
		}
		if !strings.Contains(string(bill), `"pkg:golang/`+m.path+`@`+m.version+`"`) {
			t.Errorf("%s is not in the bill", m.path)
		}
	}
	for _, want := range []string{"std", "github.com/google/gopacket", "github.com/mdlayher/packet"} {
		if !strings.Contains(string(text), "  "+want+" ") {
			t.Errorf("%s is not in copyright", want)
		}
	}
	if len(d.Packages) != len(linked)+1 || len(d.Relationships) != len(linked)+1 {
		t.Errorf("%d packages and %d relationships for %d modules", len(d.Packages), len(d.Relationships), len(linked))
	}
	if info, err := os.Stat(path); err != nil || info.Size() > maxBinary {
		t.Errorf("the binary has %d bytes, %d at most: %v", info.Size(), maxBinary, err)
	}
}

// maxBinary is how large a binary without symbols may be, in bytes.
const maxBinary = 20 << 20

func TestACommitHasAVersionBelowAllReleases(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("needs git")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(git, append([]string{"-c", "user.name=x", "-c", "user.email=x@y"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-31T12:00:00Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	run("init", "-q")
	run("commit", "-q", "--allow-empty", "-m", "x")
	r, err := describe(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^0~20260131120000\.[0-9a-f]{9,}$`).MatchString(r.version) {
		t.Errorf("version %s", r.version)
	}
	run("tag", "v1.2.3")
	if r, err = describe(dir, ""); err != nil || r.version != "1.2.3" {
		t.Errorf("version %v of a tag: %v", r, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if r, err = describe(t.TempDir(), "7"); err != nil || r.version != "7" || r.at.Unix() != 1 {
		t.Errorf("%v without a repository: %v", r, err)
	}
}
