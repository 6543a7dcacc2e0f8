package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

const (
	local     = "192.168.166.200"
	farServer = "10.0.0.129"
	farSecond = "10.0.0.131"
)

// fullnat is the mode that is not in the mainline kernel.
var fullnat = Lesson{
	Name:     "fullnat",
	Title:    lang.Text{EN: "FULLNAT: both addresses translated, servers anywhere", ZH: "FULLNAT 模式：源和目的地址都转换，真实服务器可在任意网络"},
	Topology: "fullnat",
	Options:  lab.Options{Bare: true},
	Goal: lang.Text{
		EN: "You serve clients by real servers that know neither the client nor the VIP, whose gateway is not the director: they see a local address of the director as their client.",
		ZH: "真实服务器既不认识客户端，也不认识 VIP，网关也不指向调度器，但照样能提供服务：在它们看来，客户端就是调度器的一个本地地址。",
	},
	Picture: `
client ──172.16.0.0/16── director ──192.168.166.0/24── gateway
.253.36     VIP 172.16.253.63   DIP .130, LIP .200   .100│
                                                        │
                                         10.0.0.0/24  .1├── rs1 .129 "Web1"
                                                        └── rs2 .131 "Web2"
`,
	Ways: lang.Text{
		EN: "Request: CIP → VIP becomes LIP → RIP. Reply: RIP → LIP becomes VIP → CIP. LIP is a local address of the service (the tutorial's drawing takes the DIP).",
		ZH: "请求：CIP → VIP 变为 LIP → RIP。应答：RIP → LIP 变为 VIP → CIP。LIP 是该服务的本地地址（教程的图里用的是 DIP）。",
	},
	Steps: []Step{fullnatService, fullnatLocal, fullnatServers, fullnatTurns, fullnatSource},
}

var fullnatService = Step{
	Name:   "service",
	Title:  lang.Text{EN: "the virtual service", ZH: "添加虚拟服务"},
	Task:   lang.Text{EN: "Add the service with rr.", ZH: "添加虚拟服务，调度算法用 rr。"},
	Type:   on("director", "ipvsadm -A -t 172.16.253.63:80 -s rr"),
	Checks: []Check{hasService(web, "rr")},
	Why: lang.Text{
		EN: "The service is as in every mode. What is new comes now.",
		ZH: "虚拟服务与其他模式没有区别，不同之处在下一步。",
	},
}

var fullnatLocal = Step{
	Name:  "local-address",
	Title: lang.Text{EN: "a local address", ZH: "添加本地地址"},
	Task: lang.Text{
		EN: "Give the service a local address, from which its requests go to the real servers. It must be one that their replies can be routed to, and that nobody else has.",
		ZH: "给虚拟服务添加一个本地地址，转发给真实服务器的请求以它为源地址。它必须能被真实服务器的应答路由到，而且没有其他主机使用。",
	},
	Type:   on("director", "ipvsadm --add-laddr -t 172.16.253.63:80 --laddr 192.168.166.200"),
	Checks: []Check{hasLocal(web, local)},
	Why: lang.Text{
		EN: "No interface has this address: the director answers ARP for it itself. Each local address has some 64,000 ports for each real server, one for each connection at a time; busy services have several.",
		ZH: "没有任何接口配置这个地址，由调度器自己应答它的 ARP。每个本地地址对每台真实服务器约有 64000 个端口，一个连接占用一个；繁忙的服务要配多个本地地址。",
	},
}

var fullnatServers = Step{
	Name:  "servers",
	Title: lang.Text{EN: "two real servers with --fullnat", ZH: "用 --fullnat 添加两台真实服务器"},
	Task: lang.Text{
		EN: "Add both real servers, 10.0.0.129 and 10.0.0.131, with --fullnat.",
		ZH: "用 --fullnat 添加两台真实服务器：10.0.0.129 和 10.0.0.131。",
	},
	Type: on("director", "ipvsadm -a -t 172.16.253.63:80 -r 10.0.0.129 --fullnat",
		"ipvsadm -a -t 172.16.253.63:80 -r 10.0.0.131 --fullnat"),
	Checks: []Check{hasServers(web, farServer+" --fullnat", farSecond+" --fullnat")},
	Why: lang.Text{
		EN: "They are two routers away, and nothing has to be set on them: no VIP, no ARP parameters, no gateway to the director. Ports can be mapped, as with NAT.",
		ZH: "它们在另一个网络里，而且什么都不用配置：不需要 VIP，不需要 ARP 参数，网关也不必指向调度器。与 NAT 一样可以映射端口。",
	},
}

var fullnatTurns = Step{
	Name:   "turns",
	Title:  lang.Text{EN: "requests by turns", ZH: "请求轮流分配"},
	Task:   lang.Text{EN: "Ask four times, and look at the connections.", ZH: "访问四次，再查看连接。"},
	Type:   lines(look("client", "for i in 1 2 3 4; do curl -s -m 5 172.16.253.63; done"), late("director", "ipvsadm -Lnc")),
	Checks: []Check{spread(web, 4, Shares{farServer + ":80": 1, farSecond + ":80": 1})},
	Why: lang.Text{
		EN: "Requests and replies both pass the director, as with NAT, but not because it is a gateway: the replies are addressed to it.",
		ZH: "与 NAT 一样，请求和应答都经过调度器；但不是因为它是网关，而是因为应答的目的地址就是它的。",
	},
}

var fullnatSource = Step{
	Name:  "source",
	Title: lang.Text{EN: "whom the real server sees", ZH: "真实服务器看到的是谁"},
	Task: lang.Text{
		EN: "The page /client says from which address the real server was asked. Ask for it.",
		ZH: "页面 /client 会显示真实服务器看到的客户端地址。访问它。",
	},
	Type: look("client", "curl -s 172.16.253.63/client"),
	Ask: &Question{
		Text:  lang.Text{EN: "Which address does the real server see (without the port)?", ZH: "真实服务器看到的地址是什么（不含端口）？"},
		Right: seenByServer,
	},
	Why: lang.Text{
		EN: "The local address, not the client: its logs show one client only. That is the price. The client's address can be sent along in a TCP option (TOA), which the real server has to know; with NAT, DR and TUN the server sees the client itself.",
		ZH: "看到的是本地地址，而不是客户端：日志里好像只有一个客户端。这就是 FULLNAT 的代价。可以用 TCP 选项（TOA）把客户端地址带过去，但真实服务器要支持；而 NAT、DR、TUN 模式下真实服务器看到的就是客户端本身。",
	},
}

// seenByServer asks a real server whom it sees.
func seenByServer(s *Scene) (string, error) {
	return s.clientSeen("client", "http://"+vip+"/client")
}
