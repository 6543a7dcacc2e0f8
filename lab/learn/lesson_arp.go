package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

const (
	nearServer = "172.16.253.129"
	nearSecond = "172.16.253.131"
	whoAnswers = "uvs lab check --only one-answers-for-vip"
	forget     = "ip neigh flush to 172.16.253.63"
)

// arp is the address conflict of direct routing, and its cure.
var arp = Lesson{
	Name:     "arp",
	Title:    lang.Text{EN: "ARP, and why the VIP is on lo", ZH: "ARP 问题，以及为什么 VIP 要配在 lo 上"},
	Topology: "dr",
	Options:  lab.Options{Bare: true},
	Goal: lang.Text{
		EN: "With direct routing all hosts of a network hold the VIP. You see what happens when several answer ARP for it, why parameters on lo alone do not help, why the VIP is not on eth0, and what its mask does.",
		ZH: "直接路由模式下，同一网络上的多台主机都持有 VIP。看看多台主机都应答 ARP 时会怎样，为什么只设置 lo 的参数没有用，为什么 VIP 不能配在 eth0 上，以及掩码有什么影响。",
	},
	Picture: `
client ──┬── director  172.16.253.130, eth0:1 VIP 172.16.253.63
.253.36  ├── rs1       172.16.253.129  "Web1"
         └── rs2       172.16.253.131  "Web2"        172.16.0.0/16
`,
	Ways: lang.Text{
		EN: "Request: client → director → real server, only the MAC addresses change. Reply: real server → client. The client finds the director's MAC address by asking on the network who has the VIP.",
		ZH: "请求：客户端 → 调度器 → 真实服务器，只改 MAC 地址。应答：真实服务器 → 客户端。客户端在网络上用 ARP 询问谁有 VIP，从而得到调度器的 MAC 地址。",
	},
	Steps: []Step{arpService, arpOne, arpConflict, arpPast, arpLoOnly, arpAll, arpEth0, arpMask, arpMend},
}

var arpService = Step{
	Name:  "service",
	Title: lang.Text{EN: "a direct routing service", ZH: "直接路由的虚拟服务"},
	Task: lang.Text{
		EN: "Make the service with rr, and add both real servers with -g.",
		ZH: "添加虚拟服务，调度算法用 rr；再用 -g 添加两台真实服务器。",
	},
	Type: on("director", "ipvsadm -A -t 172.16.253.63:80 -s rr",
		"ipvsadm -a -t 172.16.253.63:80 -r 172.16.253.129 -g",
		"ipvsadm -a -t 172.16.253.63:80 -r 172.16.253.131 -g"),
	Checks: []Check{hasService(web, "rr"), hasServers(web, nearServer+" -g", nearSecond+" -g")},
	Why: lang.Text{
		EN: "On the director nothing more is needed. All that can go wrong now is on the real servers.",
		ZH: "调度器上不需要别的配置了，接下来可能出的问题都在真实服务器上。",
	},
}

var arpOne = Step{
	Name:  "one-answer",
	Title: lang.Text{EN: "who has the VIP?", ZH: "谁有 VIP？"},
	Task: lang.Text{
		EN: "Ask on the network who has the VIP, as the client would, and see who answers.",
		ZH: "像客户端那样在网络上询问谁有 VIP，看看谁应答。",
	},
	Type:   look("client", whoAnswers),
	Checks: []Check{onlyAnswers("director", vip)},
	Ask: &Question{
		Text:  lang.Text{EN: "Which node answers?", ZH: "哪个节点应答？"},
		Right: func(*Scene) (string, error) { return "director", nil },
	},
	Why: lang.Text{
		EN: "So far only the director has the address. (uvs lab check tries what the lab is to do in the end; --only picks one of its tests. In another network, arping -c 3 VIP shows the same.)",
		ZH: "目前只有调度器有这个地址。（uvs lab check 逐项测试实验环境最终应有的效果，--only 只做其中一项。在别的网络里可以用 arping -c 3 VIP 看。）",
	},
}

var arpConflict = Step{
	Name:  "conflict",
	Title: lang.Text{EN: "three hosts answer", ZH: "三台主机都应答"},
	Task: lang.Text{
		EN: "Give both real servers the VIP on lo, as direct routing needs it, and ask again. The check fails: read what it saw.",
		ZH: "按直接路由的要求，在两台真实服务器的 lo 上配置 VIP，然后再问一次。这项检查会失败，读一读它看到了什么。",
	},
	Type: lines(on("rs1", "ip addr add 172.16.253.63/32 dev lo"), on("rs2", "ip addr add 172.16.253.63/32 dev lo"),
		fails("client", whoAnswers)),
	Checks: []Check{hasAddress("rs1", "lo", vip+"/32"), hasAddress("rs2", "lo", vip+"/32"), answersToo("rs1", vip), answersToo("rs2", vip)},
	Why: lang.Text{
		EN: "Linux answers ARP for any of its addresses on any interface: an address belongs to the host, not to the interface. Whose answer the client takes is chance.",
		ZH: "Linux 会在任何接口上应答对本机任何地址的 ARP 请求：地址属于主机，而不属于接口。客户端采用谁的应答，全凭运气。",
	},
}

var arpPast = Step{
	Name:  "past-the-director",
	Title: lang.Text{EN: "past the director", ZH: "绕过了调度器"},
	Task: lang.Text{
		EN: "Let the client forget what it knows of the VIP, ask some times, and see whose MAC address it uses now. ip link on a node shows the node's own.",
		ZH: "让客户端忘掉 VIP 的 MAC 地址，访问几次，再看看它现在用的是谁的 MAC 地址。在节点上执行 ip link 可以看到该节点自己的 MAC。",
	},
	Type: look("client", forget, "for i in 1 2 3 4; do curl -s -m 5 172.16.253.63; done", "ip neigh show to 172.16.253.63"),
	Ask: &Question{
		Text:  lang.Text{EN: "Which node has the MAC address that the client uses for the VIP?", ZH: "客户端记录的 VIP 的 MAC 地址属于哪个节点？"},
		Right: neighbourOf("client", vip),
	},
	Why: lang.Text{
		EN: "Kernels are quick to answer, so it is mostly a real server: then all requests go there, past the director, whose counters do not move. A web page comes, and yet nothing is balanced. With luck it is the director; then it works, until the entry is looked up again.",
		ZH: "内核应答得很快，所以多半是某台真实服务器：于是所有请求都直接到了它那里，绕过了调度器，调度器的计数器纹丝不动。页面能打开，负载却没有分担。运气好时是调度器，一切正常——直到表项过期重新查询。",
	},
}

var arpLoOnly = Step{
	Name:  "lo-only",
	Title: lang.Text{EN: "parameters on lo alone", ZH: "只设置 lo 的参数"},
	Task: lang.Text{
		EN: "The VIP is on lo, so try the parameters of lo only, on rs1, and ask again.",
		ZH: "既然 VIP 在 lo 上，就先只在 rs1 上设置 lo 的参数，然后再问一次。",
	},
	Type: lines(on("rs1", "echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore", "echo 2 > /proc/sys/net/ipv4/conf/lo/arp_announce"),
		fails("client", whoAnswers)),
	Checks: []Check{parameter("rs1", "net.ipv4.conf.lo.arp_ignore", "1"), answersToo("rs1", vip)},
	Why: lang.Text{
		EN: "rs1 still answers. What counts is the parameter of the interface on which the request comes, eth0, or that of all: the larger of the two. Nobody asks on lo. This half of a cure is what is found most often.",
		ZH: "rs1 照样应答。起作用的是收到请求的那个接口（eth0）的参数和 all 的参数，取两者中较大的。没有人会在 lo 上发 ARP 请求。这种只做了一半的设置最常见。",
	},
}

var arpAll = Step{
	Name:  "silence",
	Title: lang.Text{EN: "the real servers keep silent", ZH: "让真实服务器保持沉默"},
	Task: lang.Text{
		EN: "Set arp_ignore to 1 and arp_announce to 2, for all and lo, on both real servers. Let the client forget, and ask.",
		ZH: "在两台真实服务器上，把 all 和 lo 的 arp_ignore 都设为 1，arp_announce 都设为 2。让客户端忘掉旧表项，再访问。",
	},
	Type: lines(
		on("rs1", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.lo.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.lo.arp_announce=2"),
		on("rs2", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.lo.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.lo.arp_announce=2"),
		on("client", forget), look("client", "for i in 1 2 3 4; do curl -s -m 5 172.16.253.63; done")),
	Checks: []Check{silent("rs1"), silent("rs2"), onlyAnswers("director", vip), spread(web, 4, Shares{nearServer + ":80": 1, nearSecond + ":80": 1})},
	Why: lang.Text{
		EN: "arp_ignore 1: answer only for addresses of the interface on which the request came. arp_announce 2: in one's own requests, never name an address of another interface as the source; else each ARP request of a real server that answers as the VIP would tell the network that it has it.",
		ZH: "arp_ignore 为 1：只应答配置在收到请求的接口上的地址。arp_announce 为 2：自己发 ARP 请求时，不用其他接口的地址作源地址；否则真实服务器以 VIP 应答客户端之前发出的每个 ARP 请求，都会告诉全网 VIP 在它这里。",
	},
}

var arpEth0 = Step{
	Name:  "eth0",
	Title: lang.Text{EN: "why lo, and not eth0", ZH: "为什么是 lo，而不是 eth0"},
	Task: lang.Text{
		EN: "Move the VIP of rs1 from lo to eth0, with the parameters as they are, and ask who has it.",
		ZH: "保持参数不变，把 rs1 的 VIP 从 lo 移到 eth0，再问谁有它。",
	},
	Type: lines(on("rs1", "ip addr del 172.16.253.63/32 dev lo", "ip addr add 172.16.253.63/32 dev eth0"),
		fails("client", whoAnswers)),
	Checks: []Check{hasAddress("rs1", "eth0", vip+"/32"), answersToo("rs1", vip)},
	Why: lang.Text{
		EN: "rs1 answers again, in spite of arp_ignore 1: now the address is one of the interface on which the request comes. On lo nobody can ask for it, and that is the whole reason. (dummy0 would do as well.)",
		ZH: "尽管 arp_ignore 为 1，rs1 又应答了：现在这个地址就在收到请求的接口上。而在 lo 上没有人能问到它，这就是要用 lo 的全部原因。（用 dummy0 也可以。）",
	},
}

var arpMask = Step{
	Name:  "mask",
	Title: lang.Text{EN: "the wrong mask", ZH: "错误的掩码"},
	Task: lang.Text{
		EN: "Take the VIP back to lo, but with /16, the mask of the network. Ask twice.",
		ZH: "把 VIP 移回 lo，但这次用网段的掩码 /16。访问两次。",
	},
	Type: lines(on("rs1", "ip addr del 172.16.253.63/32 dev eth0", "ip addr add 172.16.253.63/16 dev lo"),
		on("client", forget), fails("client", "curl -s -m 1 172.16.253.63 && curl -s -m 1 172.16.253.63")),
	Checks: []Check{hasAddress("rs1", "lo", vip+"/16"), noAnswer(web)},
	Why: lang.Text{
		EN: "One of two requests hangs. With /16 on lo, rs1 takes every address of the network for its own, the client's too: its reply never leaves the host. With /32 only the VIP is.",
		ZH: "两次访问中有一次卡住。lo 上的掩码是 /16 时，rs1 会把整个网段的地址都当作自己的，包括客户端的地址，应答根本出不了本机。用 /32 就只有 VIP 是自己的。",
	},
}

var arpMend = Step{
	Name:  "mend",
	Title: lang.Text{EN: "mend it", ZH: "修好它"},
	Task: lang.Text{
		EN: "Mend rs1 by yourself, and show by four requests that both real servers answer in turn.",
		ZH: "自己动手修好 rs1，并用四次访问证明两台真实服务器轮流应答。",
	},
	Type: lines(on("rs1", "ip addr del 172.16.253.63/16 dev lo", "ip addr add 172.16.253.63/32 dev lo"),
		look("client", "for i in 1 2 3 4; do curl -s -m 5 172.16.253.63; done")),
	Own: true,
	Checks: []Check{
		hasAddress("rs1", "lo", vip+"/32"), silent("rs1"), onlyAnswers("director", vip),
		spread(web, 4, Shares{nearServer + ":80": 1, nearSecond + ":80": 1}),
	},
	Hints: []lang.Text{
		{EN: "ip addr del needs the mask with which the address was added.", ZH: "ip addr del 要写上添加地址时用的掩码。"},
		{EN: "ip addr show dev lo, and compare with rs2.", ZH: "看看 ip addr show dev lo，与 rs2 比较。"},
	},
	Why: lang.Text{
		EN: "VIP/32 on lo, arp_ignore 1 and arp_announce 2 on all: this is what every real server of direct routing needs. uvs doctor --lab finds each of these mistakes (LVS004, LVS005).",
		ZH: "lo 上的 VIP/32，加上 all 的 arp_ignore 1 和 arp_announce 2：直接路由的每台真实服务器都需要这些。uvs doctor --lab 能找出其中每一种错误（LVS004、LVS005）。",
	},
}
