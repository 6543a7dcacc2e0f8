package ipvsadm

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"uvs/forwarder/config"
)

func (d *shown) Apply(_ context.Context, commands []config.Command, _ bool) ([]error, error) {
	errs := make([]error, len(commands))
	for i, c := range commands {
		errs[i] = c.Validate()
	}
	return errs, nil
}

func (d *shown) SetTimeouts(context.Context, config.Timeouts) error       { return nil }
func (d *shown) StartDaemon(context.Context, config.Daemon) error         { return nil }
func (d *shown) StopDaemon(_ context.Context, s config.DaemonState) error { return config.ErrNoDaemon }

// With any arguments the tool ends with one of ipvsadm's statuses, prints a reason if it failed,
// and sends the director only valid commands.
func FuzzRun(f *testing.F) {
	for _, rec := range recordings(f, "testdata/cli.jsonl") {
		stdin := ""
		if rec.Stdin != nil {
			stdin = *rec.Stdin
		}
		f.Add(strings.Join(rec.Argv, "\x00"), stdin)
	}
	f.Fuzz(func(t *testing.T, words, stdin string) {
		var out, errs bytes.Buffer
		tool := Tool{
			Program: "ipvsadm", Director: &shown{services: layoutServices(), connections: recordedConnections()},
			Names: recordedNames, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		}
		status := tool.Run(context.Background(), strings.Split(words, "\x00"))
		switch status {
		case statusOK:
		case statusMissing, statusUsage, statusFailed:
			if errs.Len() == 0 {
				t.Errorf("status %d without a word", status)
			}
		default:
			t.Errorf("status %d", status)
		}
		if strings.Contains(errs.String(), "a service by mark has no") {
			t.Error("the grammar let through what no director takes")
		}
	})
}
