package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// module is a module that is linked, or Go itself.
type module struct {
	path, version string
	licence       string // its SPDX name
	texts         []string
}

// linkedIn returns the modules that a binary has in it, with their licences: Go's own library
// first. The module in source knows where they are.
func linkedIn(binary, source string) ([]module, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	root, err := command(source, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	library := module{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}
	if err := library.read(root); err != nil {
		return nil, err
	}
	all := []module{library}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		m := module{path: d.Path, version: d.Version}
		dir, err := command(source, "go", "list", "-m", "-f", "{{.Dir}}", d.Path)
		if err != nil {
			return nil, err
		}
		if err := m.read(dir); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// read reads the licence in a module's folder, and the notice that some licences want to be
// passed on.
func (m *module) read(dir string) error {
	for _, name := range []string{"LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING", "NOTICE", "NOTICE.txt", "PATENTS"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if m.licence == "" {
			m.licence = licenceOf(string(text))
		}
		m.texts = append(m.texts, string(text))
	}
	if m.licence == "" {
		return fmt.Errorf("%s: no licence that is known in %s", m.path, dir)
	}
	return nil
}

// licenceOf returns the SPDX name of a licence that a program under the Apache License may link,
// by what only its text says; empty for others.
func licenceOf(text string) string {
	has := func(words string) bool { return strings.Contains(strings.Join(strings.Fields(text), " "), words) }
	switch {
	case has("GNU GENERAL PUBLIC") || has("GNU LESSER"):
		return ""
	case has("Apache License") && has("Permission is hereby granted, free of charge"):
		return "MIT AND Apache-2.0"
	case has("Apache License") && has("Version 2.0"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Redistribution and use in source and binary forms") && has("Neither the name"):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

// copyright returns the text of Debian's file of that name: the licence of uvs, and of each
// module the text that its licence wants to be passed on. A text that several share is there
// once.
func copyright(linked []module) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`uvs is under the Apache License, Version 2.0. Copyright: the authors of uvs.

On Debian systems the text of this license is in
/usr/share/common-licenses/Apache-2.0.

The program is linked statically with the modules below. sbom.spdx.json beside
this file lists them for programs.

`)
	type shared struct {
		names []string
		text  string
	}
	var groups []*shared
	byText := map[string]*shared{}
	for _, m := range linked {
		fmt.Fprintf(&b, "  %s %s: %s\n", m.path, m.version, m.licence)
		for _, text := range m.texts {
			if m.licence == "Apache-2.0" && strings.Contains(text, "TERMS AND CONDITIONS FOR USE") {
				continue // Debian has it
			}
			text = strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n")
			if byText[text] == nil {
				byText[text] = &shared{text: text}
				groups = append(groups, byText[text])
			}
			byText[text].names = append(byText[text].names, m.path)
		}
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n---- %s\n\n%s\n", strings.Join(g.names, ", "), g.text)
	}
	return b.Bytes(), nil
}
