package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"uvs/forwarder/config"
)

// Director is the director whose state is shown; a client.Client is one.
type Director interface {
	Services(context.Context) ([]config.ServiceState, error)
	Totals(context.Context) (config.Stats, error)
	Connections(context.Context) iter.Seq2[config.Connection, error]
}

// Names are those of the files.
var Names = []string{"ip_vs", "ip_vs_app", "ip_vs_conn", "ip_vs_conn_sync", "ip_vs_stats", "ip_vs_stats_percpu"}

// Text writes one file.
func Text(ctx context.Context, w io.Writer, name string, d Director) error {
	switch name {
	case "ip_vs":
		services, err := d.Services(ctx)
		if err != nil {
			return err
		}
		return Services(w, services)
	case "ip_vs_conn":
		return Connections(w, io.Discard, d.Connections(ctx))
	case "ip_vs_conn_sync":
		return Connections(io.Discard, w, d.Connections(ctx))
	}
	totals, err := d.Totals(ctx) // for ip_vs_app too: without a director it is not there
	switch {
	case err != nil:
		return err
	case name == "ip_vs_stats":
		return Stats(w, totals)
	case name == "ip_vs_stats_percpu":
		return PerCPU(w, totals)
	}
	return Apps(w)
}

// Write writes all files to dir/net once, and replaces each atomically.
func Write(ctx context.Context, dir string, d Director) error {
	services, err := d.Services(ctx)
	if err != nil {
		return err
	}
	totals, err := d.Totals(ctx)
	if err != nil {
		return err
	}
	net := filepath.Join(dir, "net")
	if err := os.MkdirAll(net, 0o755); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	file := func(name string, write func(io.Writer) error) error {
		return replace(filepath.Join(net, name), write)
	}
	return errors.Join(
		file("ip_vs", func(w io.Writer) error { return Services(w, services) }),
		file("ip_vs_stats", func(w io.Writer) error { return Stats(w, totals) }),
		file("ip_vs_stats_percpu", func(w io.Writer) error { return PerCPU(w, totals) }),
		file("ip_vs_app", Apps),
		file("ip_vs_conn", func(conn io.Writer) error {
			return file("ip_vs_conn_sync", func(sync io.Writer) error {
				return Connections(conn, sync, d.Connections(ctx))
			})
		}),
	)
}

// replace writes a file under a temporary name and renames it.
func replace(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	err = errors.Join(write(file), file.Chmod(0o444), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("proc: %s: %w", path, err)
	}
	return nil
}

// Keep writes the files every interval until the context ends. If the director does not
// answer, they stay as they are. Keep calls report with each error.
func Keep(ctx context.Context, dir string, d Director, interval time.Duration, report func(error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := Write(ctx, dir, d); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
