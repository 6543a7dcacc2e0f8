// Package clients imports the Go clients of IPVS that TestTheGoClients tests.
package clients

import (
	_ "github.com/cloudflare/ipvs" // of a load balancer
	_ "github.com/moby/ipvs"       // of Docker and kube-proxy
)
