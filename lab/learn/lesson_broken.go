package learn

import (
	"errors"
	"time"

	"uvs/internal/lang"
	"uvs/lab"
)

// broken: five mistakes to be found, each by what it shows.
var broken = Lesson{
	Name:  "broken",
	Title: lang.Text{EN: "When things break: five faults to find", ZH: "排错：找出五个故障"},
	Goal: lang.Text{
		EN: "You go from what a client sees to the cause, with ipvsadm, ip and sysctl, and mend it.",
		ZH: "从客户端看到的现象出发，用 ipvsadm、ip 和 sysctl 找到原因并解决。",
	},
	Picture:  drLanPicture,
	Ways:     drLanWays,
	Topology: "dr",
	Steps: []Step{
		{
			Name:  "refused",
			Title: lang.Text{EN: "Every second request is refused", ZH: "每两个请求就有一个被拒绝"},
			Task: lang.Text{
				EN: "A fault was inserted, as uvs lab break does. Make some requests: half of them are refused at once. Refused means that somebody answers with a reset, so the packets arrive. Find out where, and mend it.",
				ZH: "实验环境中刚刚插入了一个故障（用的就是 uvs lab break）。发几个请求试试：有一半立即被拒绝。被拒绝说明有人用复位应答，也就是说报文到达了。找出是在哪里被拒绝的，并解决它。",
			},
			Begin: inserts("no-listener", seedOfRS1),
			Own:   true,
			Type:  lines(on("director", "uvs lab start rs1"), askAgain),
			Checks: []Check{
				cause(serves("director", "http://172.16.253.129/")),
				inTurn(web),
			},
			Hints: []lang.Text{
				{EN: "Ask each real server by its own address, from the director: curl 172.16.253.129, curl 172.16.253.131.",
					ZH: "在调度器上用真实服务器自己的地址逐台访问：curl 172.16.253.129，curl 172.16.253.131。"},
				{EN: "The web server of rs1 does not run. The lab starts it again: uvs lab start rs1.",
					ZH: "rs1 的 Web 服务器没有运行。用 uvs lab start rs1 重新启动。"},
			},
			Why: lang.Text{
				EN: "A kernel without a listener answers a SYN with RST: refused at once. The director does not look at that, it is no health checker. keepalived takes such a server out, and uvs check can.",
				ZH: "没有监听者时，内核用 RST 应答 SYN，所以立即被拒绝。调度器不理会这件事，它不做健康检查。keepalived 会把这样的服务器摘除，uvs check 也能做到。",
			},
		},
		{
			Name:  "silent",
			Title: lang.Text{EN: "Every second request hangs", ZH: "每两个请求就有一个挂起"},
			Task: lang.Text{
				EN: "Now half of the requests get no answer at all. The web servers run. Something drops the packets without a word. Find it, and mend it.",
				ZH: "现在有一半请求完全没有应答。Web 服务器都在运行，是有什么东西一声不响地丢弃了报文。找出来并解决它。",
			},
			Begin: inserts("vip-missing", seedOfRS1),
			Own:   true,
			Type:  lines(on("rs1", "ip addr add 172.16.253.63/32 dev lo"), askAgain),
			Checks: []Check{
				cause(hasAddress("rs1", "lo", "172.16.253.63/32")),
				inTurn(web),
			},
			Hints: []lang.Text{
				{EN: "ipvsadm -Lnc on the director shows which server the hanging connections have.", ZH: "在调度器上用 ipvsadm -Lnc 看看挂起的连接分到了哪台服务器。"},
				{EN: "By DR the packet still goes to the VIP. Compare the addresses of both servers: ip addr show lo.", ZH: "DR 模式下，报文的目标地址仍是 VIP。比较两台服务器的地址：ip addr show lo。"},
				{EN: "rs1 does not have the VIP: ip addr add 172.16.253.63/32 dev lo.", ZH: "rs1 上没有 VIP：ip addr add 172.16.253.63/32 dev lo。"},
			},
			Why: lang.Text{
				EN: "A host drops what is not for one of its addresses, unless it is a router. No reset, no ICMP: the client waits. Refused or hanging is the first question of every search.",
				ZH: "主机会丢弃目标不是自己地址的报文，除非它是路由器。没有复位，也没有 ICMP，客户端只能等。“被拒绝还是挂起”是每次排错要问的第一个问题。",
			},
		},
		{
			Name:  "arp",
			Title: lang.Text{EN: "The director sees nothing", ZH: "调度器什么也看不到"},
			Task: lang.Text{
				EN: "Requests are answered, but are they balanced? A real server answers the ARP requests for the VIP. Whoever asks may then hold its MAC address, and goes past the director. Find the server that does it, and make it silent.",
				ZH: "请求有应答，但真的在均衡吗？有一台真实服务器应答了对 VIP 的 ARP 请求。询问者可能记住了它的 MAC 地址，从此绕过调度器。找出这台服务器，让它不再应答。",
			},
			Begin: func(s *Scene) error {
				_, err := s.output("client", "ip", "neigh", "flush", "to", vip)
				return errors.Join(err, inserts("arp-conflict", seedOfRS1)(s))
			},
			Own: true,
			Type: lines(
				on("rs1", "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"),
				on("client", "ip neigh flush to 172.16.253.63"), askAgain,
			),
			Checks: []Check{
				cause(parameter("rs1", "net.ipv4.conf.all.arp_ignore", "1"), parameter("rs1", "net.ipv4.conf.all.arp_announce", "2")),
				onlyAnswers("director", vip),
				inTurn(web),
			},
			Hints: []lang.Text{
				{EN: "Compare arp_ignore and arp_announce of both servers: sysctl net.ipv4.conf.all.arp_ignore.", ZH: "比较两台服务器的 arp_ignore 和 arp_announce：sysctl net.ipv4.conf.all.arp_ignore。"},
				{EN: "On rs1: arp_ignore=1 and arp_announce=2 for all. On the client: ip neigh flush to 172.16.253.63, or it goes on with what it has learned.",
					ZH: "在 rs1 上把 all 的 arp_ignore 设为 1，arp_announce 设为 2。在客户端执行 ip neigh flush to 172.16.253.63，否则它会继续使用已经学到的地址。"},
			},
			Why: lang.Text{
				EN: "What counts is the interface on which the question comes: eth0. So lo alone is not enough, all is. It shows as: all connections on one server, ActiveConn 0, counters that stand still, and it changes with every ARP cache that runs out.",
				ZH: "起作用的是 ARP 请求进入的接口，即 eth0；所以只设 lo 不够，要设 all。它的表现是：所有连接都在一台服务器上，ActiveConn 为 0，计数器不动，而且每当 ARP 缓存过期，现象就会变化。",
			},
		},
		{
			Name:  "mask",
			Title: lang.Text{EN: "It has the address, and hangs", ZH: "有地址，仍然挂起"},
			Task: lang.Text{
				EN: "Half of the requests hang again. Both servers have the VIP on lo, and both are silent. Look closer.",
				ZH: "又有一半请求挂起。两台服务器的 lo 上都有 VIP，也都不应答 ARP。请看仔细一点。",
			},
			Begin: inserts("mask", seedOfRS1),
			Own:   true,
			Type:  lines(on("rs1", "ip addr flush dev lo to 172.16.253.63", "ip addr add 172.16.253.63/32 dev lo"), askAgain),
			Checks: []Check{
				cause(hasAddress("rs1", "lo", "172.16.253.63/32")),
				inTurn(web),
			},
			Hints: []lang.Text{
				{EN: "Where does rs1 send its replies? On rs1: ip route get 172.16.253.36", ZH: "rs1 把应答发到哪里去了？在 rs1 上执行：ip route get 172.16.253.36"},
				{EN: "The VIP has /24 there. It has to be /32.", ZH: "那里的 VIP 掩码是 /24，应当是 /32。"},
			},
			Why: lang.Text{
				EN: "On lo all addresses of a prefix are the host's own. With /24 the client's address is one of them, and the reply never leaves. Clients of other networks are served: a fault that testers next door see, and customers do not, or the other way round.",
				ZH: "在 lo 上，一个前缀内的所有地址都算本机地址。用 /24 时客户端的地址也在其中，应答根本出不去。其他网段的客户端却正常：这种故障，同一机房测试的人看得到而用户看不到，或者正好相反。",
			},
		},
		{
			Name:  "nobody",
			Title: lang.Text{EN: "Everything is refused", ZH: "全部被拒绝"},
			Task: lang.Text{
				EN: "Now every request is refused. The servers answer when they are asked by their own addresses. Find out who refuses, and why.",
				ZH: "现在所有请求都被拒绝。用服务器自己的地址访问却有应答。找出是谁拒绝的，为什么。",
			},
			Begin: inserts("no-server", seedOfRS1),
			Own:   true,
			Type: lines(on("director", "ipvsadm -e -t 172.16.253.63:80 -r 172.16.253.129 -g -w 1",
				"ipvsadm -e -t 172.16.253.63:80 -r 172.16.253.131 -g -w 1"), askAgain),
			Checks: []Check{
				cause(hasServers(web, "172.16.253.129 -g -w 1", "172.16.253.131 -g -w 1")),
				inTurn(web),
			},
			Hints: []lang.Text{
				{EN: "On the director: ipvsadm -Ln, and uvs stats, which counts drops by their reason.", ZH: "在调度器上：ipvsadm -Ln，以及按原因统计丢弃的 uvs stats。"},
				{EN: "All weights are 0.", ZH: "所有权重都是 0。"},
			},
			Why: lang.Text{
				EN: "Without an eligible server the director refuses by ICMP port unreachable, which a client reports as connection refused. uvs doctor --lab finds all five faults, and thirty more, and says what mends them. Try uvs lab break random in a lab of your own.",
				ZH: "没有可用的服务器时，调度器用 ICMP 端口不可达拒绝，客户端报告为连接被拒绝。uvs doctor --lab 能找出这五种故障以及另外三十种，并告诉你怎样解决。在自己的实验环境里试试 uvs lab break random。",
			},
		},
	},
}

// seedOfRS1 makes the faults of this lesson fall on rs1.
const seedOfRS1 = 1

// drLanPicture shows the topology dr.
const drLanPicture = `
client ──┬── director  172.16.253.130, VIP 172.16.253.63 on eth0:1
.253.36  ├── rs1       172.16.253.129, VIP on lo  "Web1"
         └── rs2       172.16.253.131, VIP on lo  "Web2"
`

var drLanWays = lang.Text{
	EN: "Request: client → director → real server, always CIP → VIP; only MAC addresses change. Reply: real server → client.",
	ZH: "请求：客户端 → 调度器 → 真实服务器，IP 始终是 CIP → VIP，只有 MAC 地址改变。应答：真实服务器 → 客户端。",
}

// askAgain is how the student sees that it works again.
var askAgain = look("client", "uvs get -m 2 -n 4 172.16.253.63")

// inserts returns what inserts a fault.
func inserts(name string, seed uint64) func(*Scene) error {
	return func(s *Scene) error {
		f, err := lab.FindFault(name)
		if err != nil {
			return err
		}
		return s.Lab.Break(f, seed)
	}
}

// inTurn: two servers answer in turn, now. The check itself asks, since what came before may have
// met the fault.
func inTurn(at string) Check {
	return promise(lab.Check{Kind: "alternate", Get: at, Expect: []string{"Web1", "Web2"}, Times: 4, Within: 2 * time.Second},
		lang.Text{EN: "requests are answered by both servers in turn", ZH: "两台服务器轮流应答请求"})
}

// cause: what a fault changed is as it should be. It does not say what that is.
func cause(parts ...Check) Check {
	return Check{
		What: lang.Text{EN: "the cause is gone", ZH: "故障原因已消除"},
		Look: func(s *Scene) *Miss {
			for _, c := range parts {
				if c.Look(s) != nil {
					return &Miss{
						Saw:  lang.Text{EN: "the fault is still there", ZH: "故障仍然存在"},
						Want: lang.Text{EN: "its cause away; a hint says where to look, and so does uvs doctor --lab", ZH: "消除它的原因；提示会说明从哪里看起，uvs doctor --lab 也会"},
					}
				}
			}
			return nil
		},
	}
}
