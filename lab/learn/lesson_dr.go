package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

// dr is the tutorial's experiment 2, word for word.
var dr = Lesson{
	Name:     "dr",
	Title:    lang.Text{EN: "DR with a gateway: replies go past the director", ZH: "带网关的 DR 模式：应答不经过调度器"},
	Topology: "dr-gateway",
	Options:  lab.Options{Bare: true},
	Goal: lang.Text{
		EN: "You build direct routing behind a gateway: the director changes only MAC addresses, the real servers hold the VIP themselves, keep quiet about it, and answer the client directly.",
		ZH: "在网关后面搭建直接路由：调度器只改 MAC 地址，真实服务器自己也持有 VIP，但不对外声张，并直接应答客户端。",
	},
	Picture: `
client ──100.0.0.0/24── gateway ──┬── director  .166.130, eth0:1 VIP .253.63
.6                .100  .253.36   ├── rs1       .166.129  "Web1"
                        .166.100  └── rs2       .166.131  "Web2"
`,
	Ways: lang.Text{
		EN: "Request: client → gateway → director → real server, always CIP → VIP; only the MAC addresses change. Reply: real server → gateway → client, VIP → CIP. The gateway has two inner addresses: 172.16.253.36 is the director's gateway, 192.168.166.100 the real servers'.",
		ZH: "请求：客户端 → 网关 → 调度器 → 真实服务器，IP 始终是 CIP → VIP，只有 MAC 地址改变。应答：真实服务器 → 网关 → 客户端，VIP → CIP。网关内侧有两个地址：172.16.253.36 是调度器的网关，192.168.166.100 是真实服务器的网关。",
	},
	Steps: []Step{drService, drServers, drSilence, drVIP, drARP, drShares, drOneWay},
}

var drService = Step{
	Name:  "service",
	Title: lang.Text{EN: "the virtual service", ZH: "添加虚拟服务"},
	Task: lang.Text{
		EN: "Add the service, this time with wrr from the start.",
		ZH: "添加虚拟服务，这次一开始就用 wrr。",
	},
	Type:   on("director", "ipvsadm -A -t 172.16.253.63:80 -s wrr"),
	Checks: []Check{hasService(web, "wrr")},
	Why: lang.Text{
		EN: "The director holds the VIP on eth0:1, in the network 172.16.0.0/16, beside its DIP in 192.168.166.0/24. Both are on the same wire.",
		ZH: "调度器的 eth0 上有 DIP（192.168.166.0/24），eth0:1 上有 VIP（172.16.0.0/16），两者在同一个物理网络上。",
	},
}

var drServers = Step{
	Name:  "servers",
	Title: lang.Text{EN: "two real servers with -g", ZH: "用 -g 添加两台真实服务器"},
	Task: lang.Text{
		EN: "Add the real servers with -g (gatewaying, direct routing, the default) and the weights 2 and 6.",
		ZH: "用 -g（gatewaying，即直接路由，也是默认模式）添加真实服务器，权重分别为 2 和 6。",
	},
	Type: on("director",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -g -w 2",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131 -g -w 6"),
	Checks: []Check{hasServers(web, server+" -g -w 2", second+" -g -w 6")},
	Hints: []lang.Text{
		{EN: "The column Forward says Route for -g.", ZH: "-g 在 Forward 一列显示为 Route。"},
	},
	Why: lang.Text{
		EN: "The director will send the packet on as it is, in a frame to the real server's MAC address. So both must be on one physical network, and the port cannot be changed.",
		ZH: "调度器把报文原样转发，只是装进目的 MAC 为真实服务器的帧里。所以两者必须在同一个物理网络上，端口也不能改。",
	},
}

var drSilence = Step{
	Name:  "silence",
	Title: lang.Text{EN: "a request that nobody answers", ZH: "没有人应答的请求"},
	Task: lang.Text{
		EN: "Try it already now, and see what is missing: ask once, then look at the connections (-c) on the director.",
		ZH: "现在就试一次，看看还缺什么：访问一次，再在调度器上查看连接（-c）。",
	},
	Type:   lines(fails("client", "curl -s -m 1 172.16.253.63"), look("director", "ipvsadm -Lnc")),
	Checks: []Check{noAnswer(web)},
	Why: lang.Text{
		EN: "SYN_RECV: the SYN came to the director and went on to a real server. There it was addressed to the VIP, which the server does not have, so it dropped the packet.",
		ZH: "SYN_RECV：SYN 到达了调度器，并转给了一台真实服务器。但报文的目的地址是 VIP，真实服务器上没有这个地址，于是把它丢弃了。",
	},
}

var drVIP = Step{
	Name:  "vip-on-lo",
	Title: lang.Text{EN: "the VIP on lo of the real servers", ZH: "在真实服务器的 lo 上配置 VIP"},
	Task: lang.Text{
		EN: "Give both real servers the VIP, on lo, with the mask /32.",
		ZH: "在两台真实服务器的 lo 上配置 VIP，掩码用 /32。",
	},
	Type: lines(on("rs1", "ip addr add 172.16.253.63/32 dev lo"), on("rs2", "ip addr add 172.16.253.63/32 dev lo")),
	Checks: []Check{
		hasAddress("rs1", "lo", vip+"/32"),
		hasAddress("rs2", "lo", vip+"/32"),
	},
	Hints: []lang.Text{
		{EN: "Type rs2 alone to move the prompt there. ip addr del takes an address away.", ZH: "只输入 rs2，提示符就切换到那里。ip addr del 可以删除地址。"},
	},
	Why: lang.Text{
		EN: "Now the server takes the packet for its own, and replies with the VIP as the source. /32, because with /16 lo would count the whole network as local.",
		ZH: "这样真实服务器才会把报文当作发给自己的，并以 VIP 为源地址应答。之所以用 /32，是因为如果用 /16，lo 会把整个网段都当成本机的。",
	},
}

var drARP = Step{
	Name:  "arp",
	Title: lang.Text{EN: "nobody but the director answers ARP for the VIP", ZH: "只让调度器应答 VIP 的 ARP"},
	Task: lang.Text{
		EN: "Three hosts on one network have the VIP. Keep the real servers from answering ARP requests for it (arp_ignore 1), and from naming it as the source of their own (arp_announce 2).",
		ZH: "现在同一个网络上有三台主机持有 VIP。让真实服务器不应答对它的 ARP 请求（arp_ignore 设为 1），自己发 ARP 请求时也不用它作源地址（arp_announce 设为 2）。",
	},
	Type: lines(on("rs1",
		"echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore",
		"echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore",
		"echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce",
		"echo 2 > /proc/sys/net/ipv4/conf/lo/arp_announce"),
		on("rs2",
			"echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore",
			"echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore",
			"echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce",
			"echo 2 > /proc/sys/net/ipv4/conf/lo/arp_announce")),
	Checks: []Check{silent("rs1"), silent("rs2")},
	Why: lang.Text{
		EN: "arp_ignore 1: answer only for addresses of the interface on which the request came, and the VIP is on lo. arp_announce 2: never announce an address of another interface. On a real network do this before the VIP is there.",
		ZH: "arp_ignore 为 1：只应答配置在收到请求的那个接口上的地址，而 VIP 在 lo 上。arp_announce 为 2：绝不宣告不属于该接口的地址。在真实网络中，应当先设置这些参数，再配置 VIP。",
	},
}

var drShares = Step{
	Name:  "shares",
	Title: lang.Text{EN: "one to three", ZH: "一比三"},
	Task: lang.Text{
		EN: "Now ask, at least 8 times.",
		ZH: "现在访问至少 8 次。",
	},
	Type: look("client", "for i in 1 2 3 4 5 6 7 8; do curl -s -m 5 172.16.253.63; done"),
	Checks: []Check{
		gateway("rs1", "192.168.166.100"), gateway("rs2", "192.168.166.100"),
		spread(web, 8, Shares{server + ":80": 1, second + ":80": 3}),
	},
	Hints: []lang.Text{
		{EN: "No answer? The real servers' gateway must be 192.168.166.100 (ip route), and not the DIP.", ZH: "没有应答？真实服务器的网关应是 192.168.166.100（用 ip route 查看），而不是 DIP。"},
	},
	Why: lang.Text{
		EN: "Web1 : Web2 = 1 : 3, as 2 : 6 is. The director's MAC address is the one that the gateway found by ARP, and no other.",
		ZH: "Web1 : Web2 = 1 : 3，也就是 2 : 6。网关通过 ARP 得到的只有调度器的 MAC 地址，所以请求都先到调度器。",
	},
}

var drOneWay = Step{
	Name:  "one-way",
	Title: lang.Text{EN: "what the director does not see", ZH: "调度器看不到的一半"},
	Task: lang.Text{
		EN: "Look at the counters, which change every two seconds.",
		ZH: "查看统计（每两秒更新一次）。",
	},
	Type:   late("director", "ipvsadm -Ln --stats"),
	Checks: []Check{counted(web, 1, false)},
	Ask: &Question{
		Text:  lang.Text{EN: "What is OutPkts of the service?", ZH: "该虚拟服务的 OutPkts 是多少？"},
		Right: repliesOf(web),
	},
	Why: lang.Text{
		EN: "OutPkts is 0: no reply passed the director. Replies are most of the bytes of a web service, so direct routing carries far more servers than NAT. The director sees only half of each connection, and guesses its states from the client's packets.",
		ZH: "OutPkts 为 0：应答没有经过调度器。Web 服务的流量大部分是应答，所以直接路由能带动的真实服务器比 NAT 多得多。调度器只看得到连接的一半，只能根据客户端的报文推断连接状态。",
	},
}
