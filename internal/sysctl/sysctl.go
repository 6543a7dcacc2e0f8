// Package sysctl reads and writes kernel parameters by name, as sysctl(8) does, and does
// the work of `uvs sysctl`: parameters under net.ipv4.vs are the director's, which it
// reaches through the interface Settings, all others the kernel's. Network parameters are
// those of the calling thread's network namespace.
package sysctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"uvs/forwarder/config"
)

// Path returns the file of a parameter. Names are dotted; a name with a slash keeps its
// dots, which interface names such as eth0.5 need.
func Path(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}

// Set writes a parameter.
func Set(name, value string) error {
	return Write(Path(name), value)
}

// Write writes a parameter by its file, and never creates one.
func Write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// Get reads a parameter, without the line end.
func Get(name string) (string, error) {
	b, err := os.ReadFile(Path(name))
	return strings.TrimSuffix(string(b), "\n"), err
}

// Run reads or sets parameters, "NAME" or "NAME=VALUE" each, and writes lines like
// sysctl's: with quiet none for those it set, with valuesOnly no names. Names under
// net.ipv4.vs are those of the director, if d is not nil. It continues after an error.
func Run(words []string, d Settings, quiet, valuesOnly bool, w io.Writer) error {
	var errs []error
	for _, word := range words {
		name, value, set := strings.Cut(word, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		value, err := one(name, value, set, d)
		if err != nil {
			errs = append(errs, explain(name, err))
			continue
		}
		switch {
		case set && quiet:
		case valuesOnly:
			fmt.Fprintln(w, value)
		default:
			fmt.Fprintf(w, "%s = %s\n", name, value)
		}
	}
	return errors.Join(errs...)
}

// Settings are the parameters of a director, by their names after net.ipv4.vs.
type Settings interface {
	Sysctl(name string) (string, error)
	SetSysctl(name, value string) error
}

// one reads or sets one parameter and returns its value.
func one(name, value string, set bool, d Settings) (string, error) {
	part, ours := Director(name)
	ours = ours && d != nil
	switch {
	case ours && set:
		return value, d.SetSysctl(part, value)
	case ours:
		return d.Sysctl(part)
	case set:
		return value, Set(name, value)
	}
	return Get(name)
}

func explain(name string, err error) error {
	var pe *fs.PathError
	var field *config.FieldError
	var problem *config.Problem
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("sysctl: %s: there is no such parameter", name)
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &field):
		return fmt.Errorf("sysctl: %s: %s", name, field.Problem)
	case errors.As(err, &problem):
		return fmt.Errorf("sysctl: %s: %s", name, strings.TrimPrefix(problem.Message, problem.Field+": "))
	}
	return fmt.Errorf("sysctl: %s: %w", name, err)
}
