package main

import (
	"context"
	"os/signal"

	"golang.org/x/sys/unix"

	"uvs/lab"
)

// stayUp returns when the lab has been taken down, or takes it down when this process is asked
// to end.
func stayUp(ctx context.Context, l *lab.Lab) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- l.AwaitEnd() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return l.Close()
	}
}
