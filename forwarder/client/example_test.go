package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/sched"
)

// A service with one real server, on the director of this network namespace.
func Example() {
	ctx := context.Background()
	c := client.New("")
	key := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}
	err := c.AddService(ctx, config.Service{Key: key, Scheduler: "wlc"})
	if err != nil && !errors.Is(err, config.ErrServiceExists) {
		log.Fatal(err)
	}
	server := config.Server{Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080, Method: sched.Masq, Weight: 1}
	if err := c.AddServer(ctx, key, server); err != nil {
		log.Fatal(err)
	}
	for conn, err := range c.Connections(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(conn.Client, conn.State)
	}
}
