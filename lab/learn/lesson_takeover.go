package learn

import (
	"errors"
	"fmt"
	"time"

	"uvs/internal/lang"
)

// takeover: two directors, of which one may fail.
var takeover = Lesson{
	Name:  "takeover",
	Title: lang.Text{EN: "Take-over: two directors and keepalived", ZH: "接管：双调度器与 keepalived"},
	Goal: lang.Text{
		EN: "You see how the VIP moves to the other director when one fails, and why no connection breaks.",
		ZH: "看到一台调度器故障时 VIP 怎样转移到另一台，以及为什么连接不会中断。",
	},
	Picture: `
client ──172.16.0.0/16──┬── director ──┬──192.168.166.0/24── rs1, rs2
.253.36           .62   │        .126  │                     .129, .131
                        └── standby ───┘
                  .60            .124
VIP 172.16.253.63, and the servers' gateway .130: with one of the two
`,
	Ways:     nat.Ways,
	Topology: "ha",
	Steps: []Step{
		{
			Name:  "who",
			Title: lang.Text{EN: "Who has the VIP?", ZH: "VIP 在谁那里？"},
			Task: lang.Text{
				EN: "Two directors run, with the same rules. keepalived on both of them decides by VRRP who is active. Look at the addresses of both, and make two requests.",
				ZH: "两台调度器都在运行，规则相同。两台上的 keepalived 通过 VRRP 决定谁是主用。查看两台的地址，并发两个请求。",
			},
			Begin:  directorFirst,
			Type:   lines(look("director", "ip -4 -brief addr show"), look("standby", "ip -4 -brief addr show"), look("client", "uvs get -n 2 172.16.253.63")),
			Checks: []Check{serves("client", "http://172.16.253.63/")},
			Ask: &Question{
				Text:  lang.Text{EN: "Which node has 172.16.253.63?", ZH: "172.16.253.63 在哪个节点上？"},
				Right: holderOfVIP,
			},
			Why: lang.Text{
				EN: "The directors run with --vip-role host: each answers for the VIP, and serves it, only while its host has it. The servers' gateway moves together with it, else replies would go to the wrong one.",
				ZH: "两台调度器都以 --vip-role host 运行：只有当所在主机持有 VIP 时，才为它应答、为它服务。真实服务器的网关地址随 VIP 一起转移，否则应答会走到另一台去。",
			},
		},
		{
			Name:  "sync",
			Title: lang.Text{EN: "The other one knows", ZH: "另一台也知道"},
			Task: lang.Text{
				EN: "A client has connected, has got a page, and stays. Look at the connections of standby, which has not seen one of its packets.",
				ZH: "有一个客户端建立了连接，取了一个页面，并一直保持着。standby 没有见过它的任何报文，请查看 standby 上的连接。",
			},
			Begin:  holdKnown,
			Type:   look("standby", "ipvsadm -Lnc", "ipvsadm -L --daemon"),
			Checks: []Check{synchronized("standby", web)},
			Ask: &Question{
				Text:  lang.Text{EN: "In which state does standby have it?", ZH: "它在 standby 上处于什么状态？"},
				Right: func(*Scene) (string, error) { return "ESTABLISHED", nil },
			},
			Why: lang.Text{
				EN: "The synchronization daemons tell each other of connections by multicast, in the kernel's own format: of each from its third packet on (sync_threshold). Without that, an established connection would meet a director that does not know it, and be reset.",
				ZH: "同步守护进程用组播互相通告连接，格式与内核相同，从每个连接的第三个报文开始（sync_threshold）。没有它，已建立的连接会遇到一台不认识它的调度器而被复位。",
			},
		},
		{
			Name:  "cable",
			Title: lang.Text{EN: "Pull the cable", ZH: "拔掉网线"},
			Task: lang.Text{
				EN: "A client has connected to the VIP, which director has. Now take the interface eth0 of director down, and see that standby serves, and that the client's connection still works.",
				ZH: "有一个客户端已经连到 VIP，它现在在 director 上。关闭 director 的 eth0 接口，看看 standby 是否接着提供服务，客户端原有的连接是否还能用。",
			},
			Begin: holdKnown,
			Type: lines(
				on("director", "ip link set eth0 down"),
				look("standby", "ip -4 -brief addr show"),
			),
			Checks: []Check{
				hasAddress("standby", "eth0", "172.16.253.63/32"),
				serves("client", "http://172.16.253.63/"),
				survives(),
			},
			Why: lang.Text{
				EN: "The standby missed three advertisements of a tenth of a second, took the addresses, and announced them by gratuitous ARP, so that the client and the servers send to its MAC address. It had the connection in its table already.",
				ZH: "备用调度器连续三次没有收到每隔十分之一秒的通告，于是接管地址，并用免费 ARP 宣告，使客户端和服务器都改向它的 MAC 地址发送。那个连接早已在它的连接表里。",
			},
		},
		{
			Name:  "return",
			Title: lang.Text{EN: "And put it in again", ZH: "再插回去"},
			Task: lang.Text{
				EN: "Take the interface up again. Does the VIP come back?",
				ZH: "重新启用该接口。VIP 会回来吗？",
			},
			Type:   lines(on("director", "ip link set eth0 up"), look("director", "ip -4 -brief addr show")),
			Checks: []Check{linkUp("director", "eth0"), serves("client", "http://172.16.253.63/")},
			Ask: &Question{
				Text:  lang.Text{EN: "Which node has 172.16.253.63 now?", ZH: "现在 172.16.253.63 在哪个节点上？"},
				Right: holderOfVIP,
			},
			Why: lang.Text{
				EN: "The configuration says nopreempt: who serves goes on, because each change is a risk. Without it the node of the higher priority takes the address back. uvs lab run ha does all this, and more, under load.",
				ZH: "配置中写了 nopreempt：正在服务的继续服务，因为每次切换都有风险。没有它，优先级高的节点会把地址抢回去。uvs lab run ha 会在负载下演示这一切以及更多内容。",
			},
		},
	},
}

// directorFirst waits until one of the two has the VIP, and lets it be the first: which of them
// begins is chance.
func directorFirst(s *Scene) error {
	holder, err := s.awaitHolder("")
	if err != nil || holder == "director" {
		return err
	}
	if _, err := s.output("standby", "ip", "link", "set", "eth0", "down"); err != nil {
		return err
	}
	_, err = s.awaitHolder("director")
	_, up := s.output("standby", "ip", "link", "set", "eth0", "up")
	return errors.Join(err, up)
}

// awaitHolder waits until a node has the VIP, any if it is empty.
func (s *Scene) awaitHolder(node string) (string, error) {
	for deadline := time.Now().Add(takeOverWithin); ; time.Sleep(50 * time.Millisecond) {
		holder, err := holderOfVIP(s)
		if err == nil && (node == "" || holder == node) {
			return holder, nil
		}
		if time.Now().After(deadline) {
			return holder, errors.Join(err, fmt.Errorf("the VIP is on %q after %v", holder, takeOverWithin))
		}
	}
}

// holdKnown holds a connection of the client, and waits until both directors know it. The other
// one is told at the third packet (sync_threshold), which is that of a request.
func holdKnown(s *Scene) error {
	if _, err := s.Hold("client", web); err != nil {
		return err
	}
	for deadline := time.Now().Add(takeOverWithin); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if synchronized("standby", web).Look(s) == nil {
			break
		}
	}
	return nil
}
