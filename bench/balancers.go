package bench

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"uvs/bench/load"
)

// missing says why a target cannot be measured here, or "".
func missing(t load.Target) string {
	if t.KernelIPVS() {
		return missingIPVS(t)
	}
	program := map[load.Method]string{load.DNAT: "nft", load.HAProxy: "haproxy", load.Nginx: "nginx"}[t.Method]
	if program == "" {
		return ""
	}
	if _, err := exec.LookPath(program); err != nil {
		if _, err := os.Stat("/usr/sbin/" + program); err != nil {
			return fmt.Sprintf("%s: %s is not installed", t.Method, program)
		}
	}
	return ""
}

// addressed is where clients send to: the virtual address of a director, the
// node itself for what the host's stack receives, the server behind a router.
func (r *running) addressed(t load.Target) netip.Addr {
	switch t.Method {
	case load.Route:
		return r.server(0)
	case load.DNAT, load.HAProxy, load.Nginx, load.KernelNAT, load.KernelDR, load.KernelTunnel:
		return outside(r.number, middleHost)
	}
	return r.vip()
}

// launchDNAT gives the node rules that translate to each server in turn.
func (b *testbed) launchDNAT(r *running) error {
	var servers []string
	for i := range r.servers {
		servers = append(servers, fmt.Sprintf("%d : %v", i, r.server(i)))
	}
	rules := fmt.Sprintf(`table ip bench {
		chain pre {
			type nat hook prerouting priority -100;
			ip daddr %v meta l4proto { tcp, udp } th dport 4001-4999 dnat to numgen inc mod %d map { %s }
		}
	}`, r.addressed(load.Target{Method: load.DNAT}), r.servers, strings.Join(servers, ", "))
	_, err := b.lab.Exec(r.node, "nft", rules)
	return err
}

// firstPort is the first port of a lane's services.
const firstPort = 4001

func (b *testbed) launchHAProxy(r *running) error {
	var c strings.Builder
	fmt.Fprintf(&c, "global\n maxconn 4000\n nbthread 1\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n")
	fmt.Fprintf(&c, "listen bench\n bind %v:%d\n balance roundrobin\n", r.addressed(load.Target{Method: load.HAProxy}), firstPort)
	for i := range r.servers {
		fmt.Fprintf(&c, " server s%d %v:%d\n", i, r.server(i), firstPort)
	}
	path, err := b.file(r.node+".cfg", c.String())
	if err != nil {
		return err
	}
	return b.startForwarder(r, []string{"haproxy", "-db", "-f", path}, "")
}

func (b *testbed) launchNginx(r *running) error {
	var c strings.Builder
	for _, m := range []string{"/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so"} {
		if _, err := os.Stat(m); err == nil {
			fmt.Fprintf(&c, "load_module %s;\n", m)
		}
	}
	fmt.Fprintf(&c, "daemon off;\nmaster_process off;\npid /run/bench-%s.pid;\nerror_log stderr;\nevents { worker_connections 8000; }\nstream {\n access_log off;\n upstream servers {\n", r.node)
	for i := range r.servers {
		fmt.Fprintf(&c, "  server %v:%d;\n", r.server(i), firstPort)
	}
	fmt.Fprintf(&c, " }\n server { listen %v:%d; proxy_pass servers; }\n}\n", r.addressed(load.Target{Method: load.Nginx}), firstPort)
	path, err := b.file(r.node+".conf", c.String())
	if err != nil {
		return err
	}
	return b.startForwarder(r, []string{"nginx", "-c", path}, "")
}

// file writes a file into the lab's own /run, which goes with the lab.
func (b *testbed) file(name, text string) (string, error) {
	path := "/run/bench-" + name
	return path, b.calls.Call("File", load.FileCall{Path: path, Text: text}, &struct{}{})
}
