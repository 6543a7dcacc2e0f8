package main

import (
	"log/slog"
	"path/filepath"
	"testing"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/control/controltest"
)

func TestStatsCheckSaysWhichFramesAreMissing(t *testing.T) {
	for _, c := range []struct {
		what     string
		accounts []config.Account
		want     string
	}{
		{"no port is open", nil, ""},
		{"all frames are accounted for", []config.Account{
			{Port: "all/0", Received: 10, Outcomes: map[string]uint64{"forward": 7, "pass": 1}, Waiting: config.Waiting{Neighbour: 1}, InBatch: 1},
		}, ""},
		{"two are missing", []config.Account{
			{Port: "all/0", Received: 8, Outcomes: map[string]uint64{"forward": 8}},
			{Port: "all/1", Received: 10, Outcomes: map[string]uint64{"forward": 7}, Waiting: config.Waiting{Fragments: 1}, Difference: 2},
		}, "stats: all/1: 10 received = 7 ended + 1 waiting + 0 at hand; difference +2"},
		{"one is counted twice", []config.Account{
			{Port: "lo/0", Received: 2, Outcomes: map[string]uint64{"forward": 3}, Difference: -1},
		}, "stats: lo/0: 2 received = 3 ended + 0 waiting + 0 at hand; difference -1"},
	} {
		socket := filepath.Join(t.TempDir(), "uvs")
		l, err := control.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		d := controltest.New()
		d.Audited = c.accounts
		s := control.NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
		go func() { _ = s.Serve(l) }()
		defer s.Close()
		var got string
		if err := checkAccounts(t.Context(), client.New(socket), false); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
