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
