package learn

import (
	"strings"

	"uvs/internal/lang"
)

// mtu: what a tunnel takes of each packet, and how everybody learns of it.
var mtu = Lesson{
	Name:  "mtu",
	Title: lang.Text{EN: "MTU and tunnels", ZH: "MTU 与隧道"},
	Goal: lang.Text{
		EN: "You know why small pages come and big ones hang behind a tunnel, and two ways that prevent it.",
		ZH: "弄清隧道后面为什么小页面正常而大页面挂起，以及避免它的两种办法。",
	},
	Picture:  tun.Picture,
	Ways:     tun.Ways,
	Topology: "tun",
	Steps: []Step{
		{
			Name:  "header",
			Title: lang.Text{EN: "A packet in a packet", ZH: "报文里的报文"},
			Task: lang.Text{
				EN: "Make two requests. Then ask what would become of such a packet, and compare its length as it comes in (rx) and as it leaves (tx).",
				ZH: "发两个请求。然后问一问这样的报文会怎样，比较它进来时（rx）和离开时（tx）的长度。",
			},
			Type: lines(look("client", "uvs get -n 2 172.16.253.63"), look("director", "uvs explain --dry tcp 100.0.0.6:5000 172.16.253.63:80")),
			Checks: []Check{
				spread(web, 2, evenly),
			},
			Ask: &Question{
				Text:  lang.Text{EN: "By how many bytes is the packet longer when it leaves?", ZH: "离开时报文长了多少字节？"},
				Right: func(*Scene) (string, error) { return "20", nil },
			},
			Why: lang.Text{
				EN: "The outer IP header from the DIP to the RIP takes 20 bytes. All networks here carry 1500. So what goes into the tunnel can have 1480.",
				ZH: "从 DIP 到 RIP 的外层 IP 头占 20 字节。这里的网络都能承载 1500 字节，所以装进隧道的报文最多 1480 字节。",
			},
		},
		{
			Name:  "learned",
			Title: lang.Text{EN: "The client learns it", ZH: "客户端学到路径 MTU"},
			Task: lang.Text{
				EN: "Send a request of more than 1480 bytes, by a long address, and then look at what the client's kernel knows about the way to the VIP.",
				ZH: "用一个很长的网址发出超过 1480 字节的请求，然后看看客户端内核对去往 VIP 的路径知道些什么。",
			},
			Type:   look("client", bigRequest, "ip route get 172.16.253.63"),
			Checks: []Check{pathMTU("client", "172.16.253.63", "1480")},
			Ask: &Question{
				Text:  lang.Text{EN: "Which MTU does the client know for the VIP?", ZH: "客户端所知的到 VIP 的 MTU 是多少？"},
				Right: func(*Scene) (string, error) { return "1480", nil },
			},
			Why: lang.Text{
				EN: "The first full packet had 1500 bytes and the flag DF. It did not fit, so the director answered as a router does, by ICMP 3/4 \"fragmentation needed\" with the number 1480, and the client sent smaller ones. A firewall that drops all ICMP makes that impossible: then big requests hang, and nobody knows why.",
				ZH: "第一个满长报文有 1500 字节，带着 DF 标志，装不下。调度器像路由器那样用 ICMP 3/4“需要分片”应答，并告知 1480，于是客户端改发较小的报文。如果防火墙丢弃全部 ICMP，这就行不通了：大的请求会挂起，而谁也不知道为什么。",
			},
		},
		{
			Name:  "advmss",
			Title: lang.Text{EN: "Say it at once", ZH: "一开始就说明"},
			Task: lang.Text{
				EN: "Do not depend on ICMP: let both real servers announce an MSS of 1440 (1480 less two headers of 20) in their SYN-ACK, by their default route. Let the client forget what it has learned, make two big requests, and see that it had to learn nothing.",
				ZH: "不要依赖 ICMP：让两台真实服务器通过默认路由，在 SYN-ACK 中宣告 1440 的 MSS（1480 减去两个 20 字节的头）。让客户端忘掉学到的内容，发两个大的请求，看看它这次什么也不用学。",
			},
			Type: lines(
				on("rs1", "ip route replace default via 192.168.166.100 advmss 1440"),
				on("rs2", "ip route replace default via 192.168.166.100 advmss 1440"),
				on("client", "ip route flush cache"),
				look("client", bigRequest, bigRequest, "ip route get 172.16.253.63"),
			),
			Checks: []Check{
				announces("rs1", "1440"), announces("rs2", "1440"),
				spread(web, 2, evenly),
				pathMTU("client", "172.16.253.63", ""),
			},
			Hints: []lang.Text{
				{EN: "ip route replace default via 192.168.166.100 advmss 1440, on each real server.", ZH: "在每台真实服务器上执行：ip route replace default via 192.168.166.100 advmss 1440。"},
				{EN: "Only new connections hear the new MSS. Forget on the client last: ip route flush cache.", ZH: "只有新连接才知道新的 MSS。最后再让客户端忘掉：ip route flush cache。"},
			},
			Why: lang.Text{
				EN: "The MSS in the SYN-ACK says how large the client's segments may be. The replies need nothing of this: they do not go by the tunnel. UDP has no MSS and depends on ICMP.",
				ZH: "SYN-ACK 中的 MSS 说明客户端的报文段可以多大。应答不需要这些，因为它不走隧道。UDP 没有 MSS，只能依赖 ICMP。",
			},
		},
		{
			Name:  "mismatch",
			Title: lang.Text{EN: "One interface is different", ZH: "有一个接口不一样"},
			Task: lang.Text{
				EN: "A fault was inserted. Small requests are answered, of the big ones every second hangs. Compare the nodes, and mend it.",
				ZH: "刚刚插入了一个故障。小的请求都有应答，大的请求每两个就有一个挂起。比较各个节点，并解决它。",
			},
			Begin: inserts("mtu", seedOfRS1),
			Own:   true,
			Type:  lines(on("rs1", "ip link set eth0 mtu 1500"), look("client", bigRequest, bigRequest)),
			Checks: []Check{
				cause(linkMTU("rs1", "eth0", "1500")),
				inTurn(vip + "/?" + strings.Repeat("x", 3000)),
			},
			Hints: []lang.Text{
				{EN: "ip link show eth0, on every node.", ZH: "在每个节点上执行 ip link show eth0。"},
				{EN: "rs1 has 1400 where its network has 1500: ip link set eth0 mtu 1500.", ZH: "网络是 1500，rs1 却是 1400：ip link set eth0 mtu 1500。"},
			},
			Why: lang.Text{
				EN: "An interface drops frames that are longer than its MTU, without a word: only a router sends ICMP, and there is none between. On one network all MTUs must be the same. Jumbo frames are the usual way to get this wrong.",
				ZH: "接口会一声不响地丢弃比自己 MTU 长的帧：只有路由器才发 ICMP，而这里中间没有路由器。同一网络上的 MTU 必须一致。启用巨型帧时最容易犯这个错误。",
			},
		},
	},
}

// bigRequest asks for the page by an address of 3000 bytes.
const bigRequest = `uvs get -m 5 "172.16.253.63/?$(printf '%3000s' | tr ' ' x)" 2>&1 | cut -c 1-60`
