package learn

import (
	"uvs/internal/lang"
)

// persistence keeps clients with their servers.
var persistence = Lesson{
	Name:     "persistence",
	Title:    lang.Text{EN: "Persistence: a client stays with its server", ZH: "持久连接：让客户端固定访问同一台真实服务器"},
	Topology: "nat",
	Goal: lang.Text{
		EN: "You keep a client with its real server (-p), see the template that does it, join clients of one network (-M), and are not fooled by it when you test a scheduler.",
		ZH: "用 -p 让客户端固定访问同一台真实服务器，看到起作用的连接模板，用 -M 把同一网段的客户端归在一起；以后测试调度算法时，也不会被它误导。",
	},
	Picture: nat.Picture,
	Ways: lang.Text{
		EN: "The director is configured already: rr over both real servers, with NAT.",
		ZH: "调度器已经配置好：NAT 模式，用 rr 在两台真实服务器之间轮询。",
	},
	Steps: []Step{persistTurns, persistOn, persistSame, persistClients, persistMask, persistOff},
}

var persistTurns = Step{
	Name:   "turns",
	Title:  lang.Text{EN: "without persistence", ZH: "没有持久连接时"},
	Task:   lang.Text{EN: "Ask four times.", ZH: "访问四次。"},
	Type:   look("client", "for i in 1 2 3 4; do curl -s 172.16.253.63; done"),
	Checks: []Check{persistent(web, 0, ""), spread(web, 4, Shares{server + ":80": 1, second + ":80": 1})},
	Why: lang.Text{
		EN: "Each connection goes to the next server. A shop that keeps the basket in the memory of one server would lose it with every click.",
		ZH: "每个连接都轮到下一台服务器。如果购物车保存在某一台服务器的内存里，那么每点一下都可能丢失。",
	},
}

var persistOn = Step{
	Name:  "persistent",
	Title: lang.Text{EN: "persistence of 300 seconds", ZH: "300 秒的持久连接"},
	Task: lang.Text{
		EN: "Edit the service: rr as before, and persistent for 300 seconds.",
		ZH: "修改虚拟服务：调度算法仍是 rr，再加上 300 秒的持久连接。",
	},
	Type:   on("director", "ipvsadm -E -t 172.16.253.63:80 -s rr -p 300"),
	Checks: []Check{hasService(web, "rr"), persistent(web, 300, "")},
	Hints: []lang.Text{
		{EN: "-E sets everything anew: the scheduler must be named, too.", ZH: "-E 会重新设置全部选项，所以调度算法也要写上。"},
	},
	Why: lang.Text{
		EN: "300 is the default, too, if -p stands alone. The time begins anew with each new connection of the client, and does not end while one is open.",
		ZH: "只写 -p 时默认就是 300 秒。客户端每建立一个新连接，时间就重新计算；只要还有连接没关闭，就不会过期。",
	},
}

var persistSame = Step{
	Name:  "template",
	Title: lang.Text{EN: "the template", ZH: "连接模板"},
	Task: lang.Text{
		EN: "Ask four times again, then look at the connections: one line is no connection but a template, with port 0 of the client.",
		ZH: "再访问四次，然后查看连接：其中有一行不是连接，而是模板，它的客户端端口是 0。",
	},
	Type:   lines(look("client", "for i in 1 2 3 4; do curl -s 172.16.253.63; done"), late("director", "ipvsadm -Lnc")),
	Checks: []Check{oneServer(web, 4), hasTemplate(web, "172.16.253.36")},
	Ask: &Question{
		Text:  lang.Text{EN: "To which real server does the template of 172.16.253.36 lead (its address)?", ZH: "172.16.253.36 的模板指向哪台真实服务器（写出地址）？"},
		Right: templateServer(web, "172.16.253.36"),
	},
	Why: lang.Text{
		EN: "The scheduler was asked once, for the first connection; that made the template, and the others followed it. So rr looks broken when one client tests a persistent service, and also when a browser sends many requests over one connection.",
		ZH: "调度算法只在第一个连接时起作用，随后生成模板，之后的连接都照模板走。所以只用一个客户端测试持久服务时，rr 看起来就像失灵了；浏览器在一个连接里发送多个请求时也是如此。",
	},
}

var persistClients = Step{
	Name:  "two-clients",
	Title: lang.Text{EN: "another client", ZH: "另一个客户端"},
	Task: lang.Text{
		EN: "Give the client a second address, and let it ask from there.",
		ZH: "给客户端再加一个地址，并从那个地址访问。",
	},
	Type: lines(on("client", "ip addr add 172.16.253.37/16 dev eth0",
		"ip route change 172.16.0.0/16 dev eth0 src 172.16.253.37"),
		look("client", "for i in 1 2; do curl -s 172.16.253.63; done"), late("director", "ipvsadm -Lnc")),
	Checks: []Check{hasTemplate(web, "172.16.253.37")},
	Hints: []lang.Text{
		{EN: "ip route get 172.16.253.63 on the client says which source address it takes.", ZH: "在客户端上执行 ip route get 172.16.253.63，可以看到使用的源地址。"},
	},
	Why: lang.Text{
		EN: "Each client has a template of its own, and between clients it is still the scheduler that decides. A thousand people behind one NAT gateway are one client here, and all meet the same server.",
		ZH: "每个客户端都有自己的模板，不同客户端之间仍由调度算法决定。一千个人从同一个 NAT 网关出来，在这里只算一个客户端，全都会落到同一台服务器上。",
	},
}

var persistMask = Step{
	Name:  "network",
	Title: lang.Text{EN: "clients of one network", ZH: "同一网段的客户端"},
	Task: lang.Text{
		EN: "Some providers let a customer come from several addresses in turn. Keep clients of one /24 network together (-M), and ask again.",
		ZH: "有些运营商的用户会轮流使用多个出口地址。用 -M 让同一个 /24 网段的客户端归在一起，然后再访问。",
	},
	Type: lines(on("director", "ipvsadm -E -t 172.16.253.63:80 -s rr -p 300 -M 255.255.255.0"),
		look("client", "for i in 1 2; do curl -s 172.16.253.63; done"), late("director", "ipvsadm -Lnc")),
	Checks: []Check{persistent(web, 300, "255.255.255.0"), hasTemplate(web, "172.16.253.0")},
	Why: lang.Text{
		EN: "The new template is one of 172.16.253.0, for all clients of that network. The wider the mask, the coarser the shares.",
		ZH: "新的模板属于 172.16.253.0，该网段的所有客户端共用。掩码越短，负载分配就越粗。",
	},
}

var persistOff = Step{
	Name:  "off",
	Title: lang.Text{EN: "and without it again", ZH: "取消持久连接"},
	Task: lang.Text{
		EN: "Find out yourself how to take persistence away again, with the scheduler rr, and show by four requests that they go by turns.",
		ZH: "自己想办法取消持久连接，调度算法仍为 rr，并用四次访问证明请求又轮流分配了。",
	},
	Type: lines(on("director", "ipvsadm -E -t 172.16.253.63:80 -s rr"),
		look("client", "for i in 1 2 3 4; do curl -s 172.16.253.63; done")),
	Own:    true,
	Checks: []Check{persistent(web, 0, ""), hasService(web, "rr"), spread(web, 4, Shares{server + ":80": 1, second + ":80": 1})},
	Hints: []lang.Text{
		{EN: "-E sets everything anew; what is not named is off.", ZH: "-E 会重新设置全部选项，没写的就是关闭。"},
	},
	Why: lang.Text{
		EN: "Templates that are left no longer count. Where only part of the work needs one server, keep persistence for that port, or store sessions where all servers find them; or use the scheduler sh, which remembers nothing.",
		ZH: "残留的模板不再起作用。如果只有部分业务需要固定服务器，可以只对那个端口设置持久连接，或者把会话存放在所有服务器都能访问的地方；也可以用不需要记忆的调度算法 sh。",
	},
}
