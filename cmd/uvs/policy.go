package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/policy"
)

func policyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "policy [--socket ADDRESS] [OPTION]...",
		Short: "Say what becomes of connections whose real server goes",
		Long: `Say, for a service, what becomes of connections whose real server was removed or
got the weight 0. IPVS drops packets for a removed server without a word, lets a
server of weight 0 keep its connections, and so does a director without a policy
(docs/policy.md). Without options all policies are listed.

A policy is set as a whole; "--gone drop" alone is IPVS's way again.

` + policy.Usage(),
		Example: `  uvs policy -t 10.0.0.1:80 --gone reset --drain 30s
  uvs policy -u 10.0.0.1:53 --udp-reschedule
  uvs policy`,
		DisableFlagParsing: true,
		RunE:               withWords(policy.Parse, runPolicy),
	}
}

func runPolicy(ctx context.Context, d *client.Client, c policy.Command, w io.Writer) error {
	if c.Op == policy.Set {
		return d.SetPolicy(ctx, c.Key, c.Policy)
	}
	services, err := servicesOf(ctx, d, c.Key)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(w).Encode(policy.Of(services))
	}
	if c.Op == policy.List {
		return policy.Print(w, services)
	}
	for _, line := range policy.Lines(services) {
		fmt.Fprintln(w, line)
	}
	return nil
}

// servicesOf returns the service k, or all services if none is named.
func servicesOf(ctx context.Context, d *client.Client, k config.Key) ([]config.ServiceState, error) {
	if k == (config.Key{}) {
		return d.Services(ctx)
	}
	v, err := d.Service(ctx, k)
	return []config.ServiceState{v}, err
}
