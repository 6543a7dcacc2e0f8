package learn

import (
	"strconv"

	"uvs/forwarder/config"
	"uvs/internal/lang"
)

// listings: what each listing of ipvsadm says.
var listings = Lesson{
	Name:  "listings",
	Title: lang.Text{EN: "Reading ipvsadm: -Ln, --stats, --rate, -Lnc", ZH: "读懂 ipvsadm：-Ln、--stats、--rate、-Lnc"},
	Goal: lang.Text{
		EN: "You know what each column counts, when it changes, and why InActConn is no mistake.",
		ZH: "弄清每一列数的是什么、什么时候变化，以及为什么 InActConn 不是故障。",
	},
	Picture:  nat.Picture,
	Ways:     nat.Ways,
	Topology: "nat",
	Steps: []Step{
		{
			Name:  "counters",
			Title: lang.Text{EN: "Sums and rates", ZH: "累计值与速率"},
			Task: lang.Text{
				EN: "Make 16 requests. Then look at the sums (--stats), and at once at the last seconds (--rate). The figures change every two seconds.",
				ZH: "发 16 个请求。然后查看累计值（--stats），并马上查看最近几秒的速率（--rate）。数字每两秒更新一次。",
			},
			Type: lines(look("client", "uvs get -n 16 172.16.253.63 | sort | uniq -c"),
				late("director", "ipvsadm -Ln --stats", "ipvsadm -Ln --rate")),
			Checks: []Check{counted(web, 8, true), rated(web)},
			Why: lang.Text{
				EN: "Conns counts connections, InPkts and InBytes what comes from clients, OutPkts and OutBytes what goes back to them. By DR and TUN replies do not pass the director, and both Out columns stay 0. In --rate CPS are connections, PPS packets and BPS bytes (not bits) per second. The estimator looks every two seconds and takes a quarter of what is new: a burst shows late, and fades in some ten seconds.",
				ZH: "Conns 是连接数，InPkts 和 InBytes 来自客户端，OutPkts 和 OutBytes 返回客户端。DR 和 TUN 的应答不经过调度器，两个 Out 列始终为 0。--rate 中的 CPS 是每秒连接数，PPS 是每秒报文数，BPS 是每秒字节数（不是比特）。估计器每两秒看一次，新值只占四分之一，所以突发流量显示得晚，大约十秒后才消退。",
			},
		},
		{
			Name:  "active",
			Title: lang.Text{EN: "Active and inactive", ZH: "活动与非活动"},
			Task: lang.Text{
				EN: "Three clients have connected, and stay. Make four requests beside that, which end at once, and look at -Ln.",
				ZH: "有三个客户端建立了连接并一直保持着。另外再发四个马上就结束的请求，然后查看 -Ln。",
			},
			Begin: holds(3),
			Type:  lines(look("client", "uvs get -n 4 172.16.253.63"), look("director", "ipvsadm -Ln")),
			Checks: []Check{
				spread(web, 4, evenly),
			},
			Ask: &Question{
				Text:  lang.Text{EN: "How many connections of both servers together are active (ActiveConn)?", ZH: "两台服务器合计有几个活动连接（ActiveConn）？"},
				Right: activeOf(web, ""),
			},
			Why: lang.Text{
				EN: "ActiveConn counts TCP connections that are being opened or established; InActConn those that are closing or closed, for 2 minutes after the FIN. Many short requests make a large InActConn and an ActiveConn near 0: nothing is wrong. UDP has no states, all its connections are inactive.",
				ZH: "ActiveConn 数的是正在建立和已经建立的 TCP 连接；InActConn 数的是正在关闭和已经关闭的连接，FIN 之后保留 2 分钟。大量短请求会使 InActConn 很大而 ActiveConn 接近 0，这并没有问题。UDP 没有状态，全部算作非活动。",
			},
		},
		{
			Name:  "connections",
			Title: lang.Text{EN: "Connection by connection", ZH: "逐个看连接"},
			Task: lang.Text{
				EN: "-Lnc shows every entry of the connection table: how long it stays if nothing comes, its state, and three ends: client, virtual address, real server. One client has just connected, and stays. Find its entry.",
				ZH: "-Lnc 显示连接表的每一项：没有报文时还保留多久、处于什么状态，以及三端的地址：客户端、虚拟地址、真实服务器。刚才有一个客户端建立了连接并一直保持着，请找到它。",
			},
			Begin: holds(1),
			Type:  look("director", "ipvsadm -Lnc"),
			Ask: &Question{
				Text: lang.Text{EN: "Which port has the client of the connection that is ESTABLISHED?", ZH: "状态为 ESTABLISHED 的连接，客户端的端口是多少？"},
				Right: func(s *Scene) (string, error) {
					all, err := s.connections(false)
					for i := range all {
						if all[i].State == "ESTABLISHED" {
							return strconv.Itoa(int(all[i].Client.Port())), err
						}
					}
					return "-", err
				},
			},
			Checks: []Check{inState(web, "ESTABLISHED")},
			Why: lang.Text{
				EN: "Each state has a timeout of its own: 15 minutes for ESTABLISHED, 2 minutes for TIME_WAIT, 1 minute for SYN_RECV. Each packet winds the clock up again. Entries that stay in SYN_RECV say that no answer comes back through the director: the first thing to look at when NAT does not work.",
				ZH: "每种状态有各自的超时：ESTABLISHED 为 15 分钟，TIME_WAIT 为 2 分钟，SYN_RECV 为 1 分钟；每来一个报文就重新计时。一直停留在 SYN_RECV 的连接说明应答没有经过调度器返回：NAT 不通时首先要看的就是这里。",
			},
		},
		{
			Name:  "timeouts",
			Title: lang.Text{EN: "How long an entry stays", ZH: "连接保留多久"},
			Task: lang.Text{
				EN: "Let established connections stay for one minute without a packet: the first figure of --set, in seconds. 0 leaves a figure as it is. Look at --timeout afterwards. Then make two requests.",
				ZH: "让已建立的连接在没有报文时只保留一分钟：这是 --set 的第一个数，单位为秒。0 表示保持不变。然后查看 --timeout，再发两个请求。",
			},
			Type: lines(
				on("director", "ipvsadm --set 60 0 0"),
				look("director", "ipvsadm -L --timeout"),
				look("client", "uvs get -n 2 172.16.253.63"),
			),
			Checks: []Check{timeouts(config.Timeouts{TCP: 60, TCPFin: 120, UDP: 300}), spread(web, 2, evenly)},
			Why: lang.Text{
				EN: "The figures are for ESTABLISHED, for FIN_WAIT, in which connections by DR and TUN end, and for UDP; the other states have fixed ones. An entry keeps the clock that it has until its next packet. Make the first not shorter than what your clients are silent for: the entry would be gone when the next packet comes, and the connection broken.",
				ZH: "三个数分别用于 ESTABLISHED、FIN_WAIT（DR 和 TUN 的连接最后停在这个状态）和 UDP；其他状态的超时是固定的。已有的表项在下一个报文到来之前仍按原来的计时。第一个数不能短于客户端沉默的时间：否则下一个报文到来时表项已经不在，连接就断了。",
			},
		},
		{
			Name:  "zero",
			Title: lang.Text{EN: "Begin to count anew", ZH: "重新开始计数"},
			Task: lang.Text{
				EN: "Set the counters to zero, and look at the sums, and at the connections.",
				ZH: "把计数器清零，再查看累计值和连接。",
			},
			Begin:  settle(web),
			Type:   lines(on("director", "ipvsadm -Z"), look("director", "ipvsadm -Ln --stats", "ipvsadm -Ln")),
			Checks: []Check{zeroed(web)},
			Why: lang.Text{
				EN: "-Z clears figures, not the table: connections live on, and so do ActiveConn and InActConn. What came after the last look of the estimator is still to be counted, and shows afterwards.",
				ZH: "-Z 清的是数字，不是连接表：连接照常存在，ActiveConn 和 InActConn 也不变。估计器上次查看之后到来的还没有计入，会在清零之后显示出来。",
			},
		},
	},
}
