package learn

import (
	"strconv"
	"strings"

	"uvs/internal/lang"
	"uvs/lab"
)

// tun is direct routing's way over routers: a tunnel.
var tun = Lesson{
	Name:     "tun",
	Title:    lang.Text{EN: "TUN: real servers in another network, in a tunnel", ZH: "TUN 模式：通过隧道到达其他网络的真实服务器"},
	Topology: "tun",
	Options:  lab.Options{Bare: true},
	Goal: lang.Text{
		EN: "You reach real servers beyond a router: the director wraps each packet in a second IP header, the real server takes it out and answers the client directly.",
		ZH: "让调度器把请求送到路由器后面的真实服务器：它给每个报文再加一个 IP 头，真实服务器解封装后直接应答客户端。",
	},
	Picture: `
client ──100.0.0.0/24── gateway ──172.16.0.0/16── director .253.130, VIP .63
.6                .100     │
                           └──192.168.166.0/24──┬── rs1 .129 "Web1"
                                                └── rs2 .131 "Web2"
`,
	Ways: lang.Text{
		EN: "Request: CIP → VIP to the director, from there inside DIP → RIP, through the gateway. Reply: real server → gateway → client, VIP → CIP.",
		ZH: "请求：CIP → VIP 到达调度器，从那里起外层为 DIP → RIP，内层仍是 CIP → VIP，经网关转发。应答：真实服务器 → 网关 → 客户端，VIP → CIP。",
	},
	Steps: []Step{tunService, tunVIP, tunNoDecap, tunDecap, tunTurns, tunHeader},
}

var tunService = Step{
	Name:  "service",
	Title: lang.Text{EN: "service and real servers with -i", ZH: "虚拟服务，用 -i 添加真实服务器"},
	Task: lang.Text{
		EN: "Add the service with rr and both real servers with -i (ipip, tunnelling).",
		ZH: "添加虚拟服务，调度算法用 rr；再用 -i（ipip，即隧道）添加两台真实服务器。",
	},
	Type: on("director", "ipvsadm -A -t 172.16.253.63:80 -s rr",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -i",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131 -i"),
	Checks: []Check{hasService(web, "rr"), hasServers(web, server+" -i", second+" -i")},
	Why: lang.Text{
		EN: "The real servers may be anywhere that the DIP can be routed to. As with direct routing the port cannot be changed, since the inner packet stays as it is.",
		ZH: "只要从 DIP 能路由到，真实服务器在哪里都可以。与直接路由一样，端口不能改，因为内层报文保持原样。",
	},
}

var tunVIP = Step{
	Name:  "vip-on-lo",
	Title: lang.Text{EN: "the VIP on the real servers", ZH: "在真实服务器上配置 VIP"},
	Task: lang.Text{
		EN: "The inner packet is addressed to the VIP. Give both real servers the VIP on lo with /32, and keep them from talking about it by ARP.",
		ZH: "内层报文的目的地址是 VIP。在两台真实服务器的 lo 上配置 VIP（/32），并设置 ARP 参数，使它们不对外声张。",
	},
	Type: lines(
		on("rs1", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.lo.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.lo.arp_announce=2",
			"ip addr add 172.16.253.63/32 dev lo"),
		on("rs2", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.lo.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.lo.arp_announce=2",
			"ip addr add 172.16.253.63/32 dev lo")),
	Checks: []Check{silent("rs1"), silent("rs2"), hasAddress("rs1", "lo", vip+"/32"), hasAddress("rs2", "lo", vip+"/32")},
	Why: lang.Text{
		EN: "Here the real servers are in a network of their own, where nobody asks for the VIP. The parameters do no harm, and are needed as soon as a server stands in the director's network.",
		ZH: "这里真实服务器自成一个网络，没有人会用 ARP 询问 VIP。设置这些参数没有坏处；一旦有真实服务器与调度器同处一个网络，就必须设置。",
	},
}

var tunNoDecap = Step{
	Name:  "no-decap",
	Title: lang.Text{EN: "a tunnel without an end", ZH: "没有终点的隧道"},
	Task: lang.Text{
		EN: "Ask once. Then see how many packets the director has sent into the tunnel, and what came of them.",
		ZH: "访问一次，然后看看调度器发进隧道的报文结果如何。",
	},
	Type:   lines(fails("client", "curl -s -m 1 172.16.253.63"), look("director", "ipvsadm -Lnc")),
	Checks: []Check{noAnswer(web)},
	Why: lang.Text{
		EN: "The outer packet arrived, but nobody on the real server takes a packet of IP protocol 4 apart. A Linux host says so with ICMP protocol unreachable to the DIP; uvs doctor finds that.",
		ZH: "外层报文到达了真实服务器，但那里没有程序处理 IP 协议号为 4 的报文。Linux 会向 DIP 回一个 ICMP“协议不可达”；uvs doctor 能发现这一点。",
	},
}

var tunDecap = Step{
	Name:  "decap",
	Title: lang.Text{EN: "the end of the tunnel", ZH: "隧道的终点"},
	Task: lang.Text{
		EN: "A real server needs a decapsulator. With the kernel's, that is modprobe ipip and ip link set tunl0 up; uvs decap does the same without a module. Start it on both real servers, in the background.",
		ZH: "真实服务器需要解封装。用内核的话就是 modprobe ipip 和 ip link set tunl0 up；uvs decap 不需要内核模块，作用相同。在两台真实服务器上把它放到后台运行。",
	},
	Type: lines(on("rs1", "uvs decap >/dev/null 2>&1 &"), on("rs2", "uvs decap >/dev/null 2>&1 &")),
	Checks: []Check{
		decapsulates("rs1"), decapsulates("rs2"),
		parameter("rs1", "net.ipv4.conf.all.rp_filter", "0"), parameter("rs2", "net.ipv4.conf.all.rp_filter", "0"),
	},
	Why: lang.Text{
		EN: "The inner packet arrives by another interface than the reply leaves by. rp_filter=1 would drop it, and so it has to be off (0) on all and on the tunnel's interface. In this lab it is.",
		ZH: "内层报文从隧道接口进来，应答却从另一个接口出去。rp_filter=1 会因此丢弃报文，所以 all 和隧道接口上都必须关掉（0）。本实验环境里已经关了。",
	},
}

var tunTurns = Step{
	Name:   "turns",
	Title:  lang.Text{EN: "requests by turns", ZH: "请求轮流分配"},
	Task:   lang.Text{EN: "Ask four times.", ZH: "访问四次。"},
	Type:   look("client", "for i in 1 2 3 4; do curl -s -m 5 172.16.253.63; done"),
	Checks: []Check{spread(web, 4, Shares{server + ":80": 1, second + ":80": 1})},
	Why: lang.Text{
		EN: "The gateway forwarded DIP → RIP on the way there, and VIP → CIP on the way back, from a host that is not the director. Many networks filter such source addresses: a provider must let them pass.",
		ZH: "去程网关转发的是 DIP → RIP，回程则是 VIP → CIP，而发出者并不是调度器。很多网络会过滤这种源地址，需要运营商放行。",
	},
}

var tunHeader = Step{
	Name:  "outer-header",
	Title: lang.Text{EN: "the outer header, and the MTU", ZH: "外层 IP 头与 MTU"},
	Task: lang.Text{
		EN: "Ask the director what it would do with a packet of the client: nothing is sent. Look at what is rewritten, and at the length.",
		ZH: "询问调度器会怎样处理客户端的一个报文（不会真正发送）。注意改写了什么，长度变成多少。",
	},
	Type: look("director", "uvs explain --dry tcp 100.0.0.6:5000 172.16.253.63:80"),
	Ask: &Question{
		Text:  lang.Text{EN: "The MTU is 1500. How long may a packet of the client be, in bytes, to fit into the tunnel?", ZH: "MTU 是 1500。客户端的报文最长多少字节才能装进隧道？"},
		Right: tunnelRoom,
	},
	Why: lang.Text{
		EN: "1480: the outer header takes 20 bytes. A longer packet that must not be fragmented is answered by the director with ICMP fragmentation needed; where a firewall drops that, small pages work and large uploads hang.",
		ZH: "1480：外层 IP 头占 20 字节。更长又不许分片的报文，调度器会回 ICMP“需要分片”；如果防火墙把它丢了，就会出现小页面正常、大的上传却卡住的现象。",
	},
}

// tunnelRoom answers what is left of the MTU of the director's link beside an outer IPv4
// header (RFC 2003).
func tunnelRoom(s *Scene) (string, error) {
	out, err := s.output("director", "cat", "/sys/class/net/eth0/mtu")
	if err != nil {
		return "", err
	}
	mtu, err := strconv.Atoi(strings.TrimSpace(out))
	return strconv.Itoa(mtu - 20), err
}
