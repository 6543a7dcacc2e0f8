package main

import (
	"fmt"
	"net"
	"os"
)

// notifyReady tells the service manager, if one started this process, that the director is
// ready (sd_notify(3)).
func notifyReady() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}
