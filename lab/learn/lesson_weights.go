package learn

import "uvs/internal/lang"

// evenly is what two servers of experiment 1 get by turns.
var evenly = Shares{server + ":80": 1, second + ":80": 1}

// weights: the share of a server, and how it is taken out of service.
var weights = Lesson{
	Name:  "weights",
	Title: lang.Text{EN: "Weights, draining and thresholds", ZH: "权重、平滑下线与阈值"},
	Goal: lang.Text{
		EN: "You give servers unequal shares, take one out of service without breaking a connection, and limit what one may get.",
		ZH: "学会给服务器分配不同的份额，在不中断连接的情况下让一台服务器下线，以及限制一台服务器承担的连接数。",
	},
	Picture:  nat.Picture,
	Ways:     nat.Ways,
	Topology: "nat",
	Steps: []Step{
		{
			Name:  "shares",
			Title: lang.Text{EN: "Three to one", ZH: "三比一"},
			Task: lang.Text{
				EN: "The director has the service of experiment 1, with rr. Let rs1 get three connections for each one of rs2. rr does not heed weights, wrr does. Then make at least eight requests.",
				ZH: "调度器上已经有实验一的服务，调度算法是 rr。现在让 rs1 每得到三个连接，rs2 得到一个。rr 不看权重，wrr 才看。然后至少发出八个请求。",
			},
			Type: lines(
				on("director", "ipvsadm -E -t 172.16.253.63:80 -s wrr",
					"ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 3"),
				look("client", "uvs get -n 8 172.16.253.63"),
			),
			Checks: []Check{
				first(hasService(web, "wrr")),
				first(hasServers(web, server+" -m -w 3", second+" -m -w 1")),
				spread(web, 8, Shares{server + ":80": 3, second + ":80": 1}),
			},
			Hints: []lang.Text{
				{EN: "-E edits a service, -e a real server. An edit has to name the forwarding method again: without -m it would become -g.",
					ZH: "-E 修改服务，-e 修改真实服务器。修改时要再次写明转发模式：不写 -m 就会变成 -g。"},
			},
			Why: lang.Text{
				EN: "A weight is a share only beside the others: 3 and 1 are the same as 300 and 100, but wrr gives them in rounds, and long rounds come in long runs. So take small numbers without a common divisor.",
				ZH: "权重只有与其他服务器相比才有意义：3 和 1 等于 300 和 100。但 wrr 是一轮一轮分配的，一轮越长，连续落到同一台的次数就越多，所以应使用没有公约数的小数字。",
			},
		},
		{
			Name:  "drain",
			Title: lang.Text{EN: "Take rs1 out, gently", ZH: "让 rs1 平滑下线"},
			Task: lang.Text{
				EN: "rs1 is to be updated. Four clients have just connected and stay, some of them to rs1. Give rs1 the weight 0, make four more requests, and look at the listing: who gets the new connections, and what became of the old ones?",
				ZH: "rs1 需要升级。刚才有四个客户端建立了连接并一直保持着，其中有些在 rs1 上。把 rs1 的权重设为 0，再发四个请求，然后查看列表：新连接归谁？旧连接怎样了？",
			},
			Begin: holds(4),
			Type: lines(
				on("director", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 0"),
				look("client", "uvs get -n 4 172.16.253.63"),
				look("director", "ipvsadm -Ln"),
			),
			Checks: []Check{
				first(hasServers(web, server+" -m -w 0", second+" -m -w 1")),
				untouched(web, server+":80", 4),
				stillActive(web, server+":80"),
			},
			Ask: &Question{
				Text:  lang.Text{EN: "How many connections of rs1 are active (ActiveConn)?", ZH: "rs1 还有几个活动连接（ActiveConn）？"},
				Right: activeOf(web, server+":80"),
			},
			Why: lang.Text{
				EN: "The scheduler is asked for new connections only, and leaves out weight 0. The packets of the others follow the connection table, which knows no weight. When ActiveConn is 0, rs1 can be switched off, and nobody notices. To delete it (ipvsadm -d) would leave its clients without a server.",
				ZH: "只有新连接才询问调度算法，而它排除权重为 0 的服务器。其余报文都按连接表走，连接表里没有权重。等 ActiveConn 变成 0，就可以关掉 rs1，谁也不会察觉。如果直接删除它（ipvsadm -d），它的客户端就失去了服务器。",
			},
		},
		{
			Name:  "back",
			Title: lang.Text{EN: "And back again", ZH: "恢复上线"},
			Task: lang.Text{
				EN: "rs1 is updated. Let both servers have the weight 1, and see that both get requests.",
				ZH: "rs1 升级完毕。让两台服务器的权重都为 1，并确认两台都能分到请求。",
			},
			Type: lines(
				on("director", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 1"),
				look("client", "uvs get -n 6 172.16.253.63"),
			),
			Checks: []Check{
				first(hasServers(web, server+" -m -w 1", second+" -m -w 1")),
				spread(web, 6, evenly),
			},
			Why: lang.Text{
				EN: "With wlc a server that comes back empty gets all new connections until it has as many as the others. wrr knows nothing of the past and goes on by turns.",
				ZH: "如果用 wlc，空着手回来的服务器会得到全部新连接，直到与其他服务器一样多。wrr 不管过去，仍按轮次分配。",
			},
		},
		{
			Name:  "thresholds",
			Title: lang.Text{EN: "Not more than rs2 can bear", ZH: "不超过 rs2 的承受能力"},
			Task: lang.Text{
				EN: "Let rs2 have three connections at most, and new ones again only when fewer than two are left: -x and -y. Connections that are over but still listed count too, so rs2 is full at once. Make four requests and look at the thresholds.",
				ZH: "让 rs2 最多承担三个连接，降到两个以下才再次接受：用 -x 和 -y。已经结束但仍在列表中的连接也计算在内，所以 rs2 马上就满了。发四个请求，然后查看阈值。",
			},
			Type: lines(
				on("director", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.131 -m -w 1 -x 3 -y 2"),
				look("client", "uvs get -n 4 172.16.253.63"),
				look("director", "ipvsadm -Ln --thresholds"),
			),
			Begin: holds(8),
			Checks: []Check{
				first(limited(web, second+":80", 3, 2)),
				untouched(web, second+":80", 4),
			},
			Why: lang.Text{
				EN: "At -x a server is overloaded: it counts as if its weight were 0, until it falls below -y. Without -y that is three quarters of -x. If all servers are full, clients are told port unreachable. That is often better than to let all of them wait.",
				ZH: "达到 -x 的服务器就是过载：在降到 -y 以下之前，它如同权重为 0。没有设 -y 时，以 -x 的四分之三为准。如果所有服务器都满了，客户端会收到端口不可达；这往往比让所有人都等着要好。",
			},
		},
	},
}
