package main

import (
	"strings"
	"testing"
)

func TestTheFirstScreenNamesEveryCommandOnce(t *testing.T) {
	_, commands, _ := strings.Cut(firstScreen, "All commands:\n")
	named := map[string]int{}
	for line := range strings.Lines(commands) {
		if len(line) > 30 && strings.HasPrefix(line, "  ") {
			for _, name := range strings.Split(strings.TrimSpace(line[30:]), ", ") {
				named[name]++
			}
		}
	}
	for _, c := range rootCmd().Commands() {
		if c.Hidden {
			continue
		}
		if named[c.Name()] != 1 {
			t.Errorf("%s is there %d times", c.Name(), named[c.Name()])
		}
		delete(named, c.Name())
	}
	if len(named) > 0 {
		t.Errorf("there are no such commands: %v", named)
	}
}
