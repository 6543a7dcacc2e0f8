package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

// Addresses of the tutorial's experiments.
const (
	vip    = "172.16.253.63"
	web    = vip + ":80"
	server = "192.168.166.129"
	second = "192.168.166.131"
)

// nat is the tutorial's experiment 1, word for word.
var nat = Lesson{
	Name:     "nat",
	Title:    lang.Text{EN: "NAT: the director translates addresses both ways", ZH: "NAT 模式：调度器双向转换地址"},
	Topology: "nat",
	Options:  lab.Options{Bare: true},
	Goal: lang.Text{
		EN: "You build a virtual server with ipvsadm, share requests between two web servers by turns and by weight, and know why the real servers must have the director as their gateway.",
		ZH: "用 ipvsadm 搭建一个虚拟服务，让请求在两台 Web 服务器之间轮询分配，再按权重分配，并弄清楚为什么真实服务器的网关必须指向调度器。",
	},
	Picture: `
client ──172.16.0.0/16── director ──192.168.166.0/24──┬── rs1 .129 "Web1"
.253.36     VIP 172.16.253.63   DIP 192.168.166.130   └── rs2 .131 "Web2"
`,
	Ways: lang.Text{
		EN: "Request: CIP → VIP becomes CIP → RIP at the director. Reply: RIP → CIP becomes VIP → CIP there, since the real servers' gateway is the DIP.",
		ZH: "请求：CIP → VIP 在调度器上变为 CIP → RIP。应答：RIP → CIP 在调度器上变回 VIP → CIP，因为真实服务器的网关是 DIP。",
	},
	Steps: []Step{natService, natServers, natForward, natTurns, natStats, natWeights, natShares},
}

var natService = Step{
	Name:  "service",
	Title: lang.Text{EN: "the virtual service", ZH: "添加虚拟服务"},
	Task: lang.Text{
		EN: "A virtual service is a protocol, an address and a port that clients ask for. Add one (-A) for TCP (-t) on the VIP, port 80, with the scheduler (-s) rr: the real servers take turns.",
		ZH: "虚拟服务由协议、地址和端口组成，客户端访问的就是它。为 VIP 的 TCP（-t）80 端口添加（-A）一个虚拟服务，调度算法（-s）用 rr，即各台真实服务器轮流接收请求。",
	},
	Type:   on("director", "ipvsadm -A -t 172.16.253.63:80 -s rr"),
	Checks: []Check{hasService(web, "rr")},
	Hints: []lang.Text{
		{EN: "ipvsadm -Ln lists what is there. A wrong service goes away with -D, in the same words.", ZH: "用 ipvsadm -Ln 查看现有的服务。添错了的服务用 -D 删除，后面的写法不变。"},
	},
	Why: lang.Text{
		EN: "The director now answers for this address and port. It has nobody to send requests to yet: a client would be refused.",
		ZH: "调度器现在会接管发往该地址和端口的请求。但还没有真实服务器可以转发，此时客户端的连接会被拒绝。",
	},
}

var natServers = Step{
	Name:  "servers",
	Title: lang.Text{EN: "two real servers", ZH: "添加两台真实服务器"},
	Task: lang.Text{
		EN: "Add (-a) both real servers (-r) to the service. -m is masquerading, as NAT is called here.",
		ZH: "把两台真实服务器（-r）加入（-a）这个虚拟服务。-m 表示 masquerading，也就是 NAT 模式。",
	},
	Type: on("director",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -m",
		"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131 -m"),
	Checks: []Check{hasServers(web, server+" -m", second+" -m")},
	Hints: []lang.Text{
		{EN: "Without -m a server gets the default, -g: direct routing. -e changes a server that is there, -d deletes it.", ZH: "不写 -m 就是默认的 -g，即直接路由。-e 修改已有的真实服务器，-d 删除。"},
	},
	Why: lang.Text{
		EN: "A real server without a port gets the service's. With NAT it may be another one, as in -r 192.168.166.129:8080, since the director rewrites the port as well as the address. No other mode but FULLNAT can do that.",
		ZH: "-r 后面不写端口，就沿用虚拟服务的端口。NAT 模式下也可以写别的端口，例如 -r 192.168.166.129:8080，因为调度器连端口一起改写。除 FULLNAT 外，其他模式都不支持端口映射。",
	},
}

var natForward = Step{
	Name:  "forward",
	Title: lang.Text{EN: "the listing, and ip_forward", ZH: "查看列表，打开 ip_forward"},
	Task: lang.Text{
		EN: "Look at what you have made, then let the director's system forward packets between its two networks.",
		ZH: "先查看刚才的配置，再让调度器的系统在两个网络之间转发报文。",
	},
	Type:   lines(look("director", "ipvsadm -Ln"), on("director", "sysctl -w net.ipv4.ip_forward=1")),
	Checks: []Check{hasServers(web, server+" -m", second+" -m"), parameter("director", "net.ipv4.ip_forward", "1")},
	Why: lang.Text{
		EN: "Forward says Masq for -m. Weight 1 is the default. ActiveConn counts established connections, InActConn the others. The kernel's IPVS needs ip_forward to send replies on; uvs forwards by itself, and works either way.",
		ZH: "Forward 一列的 Masq 就是 -m，权重默认为 1。ActiveConn 是已建立的连接数，InActConn 是其他状态的连接数。内核的 IPVS 要靠 ip_forward 转发应答；uvs 自己转发，开不开都能工作。",
	},
}

var natTurns = Step{
	Name:  "turns",
	Title: lang.Text{EN: "requests by turns", ZH: "请求轮流分配"},
	Task: lang.Text{
		EN: "Be the client: ask the VIP twice.",
		ZH: "现在换成客户端：访问 VIP 两次。",
	},
	Type:   look("client", "curl -s 172.16.253.63", "curl -s 172.16.253.63"),
	Checks: []Check{spread(web, 2, Shares{server + ":80": 1, second + ":80": 1})},
	Hints: []lang.Text{
		{EN: "No answer? Look at ipvsadm -Lnc on the director: SYN_RECV means that the server's reply does not come back through the director.", ZH: "没有应答？在调度器上看 ipvsadm -Lnc：如果停在 SYN_RECV，说明真实服务器的应答没有经调度器返回。"},
	},
	Why: lang.Text{
		EN: "rr gives each new connection to the next server. The client saw one address only, the VIP. The replies came back through the director, because it is the gateway of both real servers; if a reply took another way, the client would get packets from an address that it never asked, and drop them.",
		ZH: "rr 把每个新连接交给下一台真实服务器。客户端看到的始终只有 VIP。应答之所以经调度器返回，是因为两台真实服务器的网关都是它；如果应答走了别的路，客户端就会收到来自陌生地址的报文，只能丢弃。",
	},
}

var natStats = Step{
	Name:  "stats",
	Title: lang.Text{EN: "the counters", ZH: "查看统计"},
	Task: lang.Text{
		EN: "Set the counters to zero (-Z), make 120 requests, and look at the counters. (uvs get -n is a curl that repeats; each request is a connection of its own.) The counters change every two seconds.",
		ZH: "把计数器清零（-Z），发出 120 个请求，再查看统计。（uvs get -n 相当于重复执行的 curl，每个请求都是一个单独的连接。）计数器每两秒更新一次。",
	},
	Type: lines(look("director", "ipvsadm -Z"), look("client", "uvs get -n 120 172.16.253.63 | sort | uniq -c"),
		late("director", "ipvsadm -L --stats")),
	Checks: []Check{
		spread(web, 120, Shares{server + ":80": 1, second + ":80": 1}),
		counted(web, 60, true),
	},
	Ask: &Question{
		Text:  lang.Text{EN: "How many connections (Conns) does the listing show for 192.168.166.129?", ZH: "列表中 192.168.166.129 的连接数（Conns）是多少？"},
		Right: connsOf(web, server+":80"),
	},
	Why: lang.Text{
		EN: "60 and 60. InPkts are packets from clients, OutPkts those to clients. Both are there, as with NAT every packet passes the director twice; so it becomes the bottleneck with some 20 servers.",
		ZH: "各 60 个。InPkts 是来自客户端的报文数，OutPkts 是发往客户端的报文数。两者都不为零，因为 NAT 模式下请求和应答都要经过调度器；所以真实服务器到 20 台左右时，它就会成为瓶颈。",
	},
}

var natWeights = Step{
	Name:  "weights",
	Title: lang.Text{EN: "another scheduler, and weights", ZH: "更换调度算法，设置权重"},
	Task: lang.Text{
		EN: "Edit (-E) the service: wrr, turns by weight. Then edit (-e) the first real server: weight (-w) 2.",
		ZH: "修改（-E）虚拟服务，调度算法改为 wrr，即加权轮询。再修改（-e）第一台真实服务器，权重（-w）设为 2。",
	},
	Type: on("director", "ipvsadm -E -t 172.16.253.63:80 -s wrr",
		"ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 2"),
	Checks: []Check{hasService(web, "wrr"), hasServers(web, server+" -m -w 2", second+" -m -w 1")},
	Hints: []lang.Text{
		{EN: "-e sets all of a server's options: without -m it becomes a direct routing server.", ZH: "-e 会重新设置真实服务器的全部选项：不写 -m，它就变成直接路由了。"},
	},
	Why: lang.Text{
		EN: "Both edits work while connections go on. rr would not look at the weight, except that a server of weight 0 gets no new connections with any scheduler.",
		ZH: "两项修改都不影响已有的连接。rr 不看权重；但无论用哪种调度算法，权重为 0 的真实服务器都不再接收新连接。",
	},
}

var natShares = Step{
	Name:  "shares",
	Title: lang.Text{EN: "two to one", ZH: "二比一"},
	Task: lang.Text{
		EN: "Ask again, some more times.",
		ZH: "再多访问几次。",
	},
	Type:   look("client", "for i in 1 2 3 4 5 6; do curl -s 172.16.253.63; done"),
	Checks: []Check{spread(web, 6, Shares{server + ":80": 2, second + ":80": 1})},
	Why: lang.Text{
		EN: "Web1 : Web2 = 2 : 1. This was the whole of the first experiment; in the next one the replies no longer pass the director.",
		ZH: "Web1 : Web2 = 2 : 1。第一个实验到此完成；在下一个实验里，应答不再经过调度器。",
	},
}
