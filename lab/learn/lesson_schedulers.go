package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

// third is the address of the third real server.
const third = "192.168.166.132"

// schedulers are the tutorial's ten, one by one. The student foretells who gets the next
// connection, and a real one shows whether that was right.
var schedulers = Lesson{
	Name:     "schedulers",
	Title:    lang.Text{EN: "Schedulers: ten rules, each by its arithmetic", ZH: "调度算法：十种规则，逐一演算"},
	Topology: "nat",
	Options:  lab.Options{RealServers: 3},
	Goal: lang.Text{
		EN: "For each of the ten schedulers you foretell which real server gets the next connection. A real connection then shows whether you were right, and the director its arithmetic.",
		ZH: "对十种调度算法逐一预测下一个连接会交给哪台真实服务器。随后用一个真实的连接来验证，并显示调度器自己的演算过程。",
	},
	Picture: `
client ──172.16.0.0/16── director ──192.168.166.0/24──┬── rs1 .129 "Web1"
.253.36     VIP 172.16.253.63   DIP 192.168.166.130   ├── rs2 .131 "Web2"
                                                      └── rs3 .132 "Web3"
`,
	Ways: lang.Text{
		EN: "The director is configured already, with NAT. Where a step needs busy servers, the lesson holds connections of the client open. IPVS puts a new server at the head of its list, so in the list's order it is rs3, rs2, rs1; of equals the first in the list wins.",
		ZH: "调度器已按 NAT 模式配置好。需要繁忙的服务器时，课程会替客户端保持一些连接不关闭。IPVS 把新加的服务器放在列表的最前面，所以列表顺序是 rs3、rs2、rs1；数值相同时，排在前面的胜出。",
	},
	Steps: []Step{schedRR, schedWRR, schedSH, schedDH, schedLC, schedWLC, schedSED, schedNQ, schedLBLC, schedLBLCR},
}

// weighted are the real servers with the weights 3, 2 and 1.
var weighted = hasServers(web, server+" -m -w 3", second+" -m -w 2", third+" -m -w 1")

// edit returns the line that changes the scheduler.
func edit(scheduler string) []Line {
	return on("director", "ipvsadm -E -t 172.16.253.63:80 -s "+scheduler)
}

// listing shows the figures that most of the dynamic schedulers look at.
var listing = look("director", "ipvsadm -Ln")

// askFirst makes requests before the question.
var askFirst = look("client", "for i in 1 2 3; do curl -s 172.16.253.63; done")

var schedRR = Step{
	Name:  "rr",
	Title: lang.Text{EN: "rr, round-robin", ZH: "rr：轮询"},
	Task: lang.Text{
		EN: "rr: the next server in the list, whatever its load or weight. The service has rr already; say so again, ask three times, and foretell the fourth.",
		ZH: "rr：列表中的下一台，不看负载，也不看权重。该服务已经是 rr，再设置一次也无妨；访问三次，然后预测第四次。",
	},
	Type:   lines(edit("rr"), askFirst),
	Checks: []Check{hasService(web, "rr"), spread(web, 3, Shares{server + ":80": 1, second + ":80": 1, third + ":80": 1})},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "Good for equal servers and equal requests. A slow server gets as many requests as a quick one.",
		ZH: "适合服务器性能相同、请求开销相近的情况。慢的服务器和快的服务器分到的请求一样多。",
	},
}

var schedWRR = Step{
	Name:  "wrr",
	Title: lang.Text{EN: "wrr, weighted round-robin", ZH: "wrr：加权轮询"},
	Task: lang.Text{
		EN: "Give the servers the weights 3, 2 and 1. wrr goes round the list with a required weight: first 3, then 2, then 1, and takes only servers of at least that weight. So a cycle is rs1, rs2 rs1, rs3 rs2 rs1. Ask for a whole cycle of six, then foretell the next.",
		ZH: "把三台服务器的权重设为 3、2、1。wrr 带着一个“门槛权重”在列表里轮转：先是 3，再是 2，再是 1，只选权重不低于门槛的服务器。所以一个周期是 rs1，rs2 rs1，rs3 rs2 rs1。访问六次（一个周期），再预测下一次。",
	},
	Type: lines(on("director", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 3",
		"ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.131 -m -w 2"), edit("wrr"),
		look("client", "for i in 1 2 3 4 5 6; do curl -s 172.16.253.63; done")),
	Checks: []Check{hasService(web, "wrr"), weighted, spread(web, 6, Shares{server + ":80": 3, second + ":80": 2, third + ":80": 1})},
	Ask:    predict(web),
	Hints:  []lang.Text{{EN: "After six requests the cycle begins anew, where it began before.", ZH: "六次访问之后，周期从头开始，与上一个周期的起点相同。"}},
	Why: lang.Text{
		EN: "3 : 2 : 1 over each cycle. Prefer small weights: with 300, 200 and 101 the first hundred connections or so would all go to one server.",
		ZH: "每个周期内都是 3 : 2 : 1。权重尽量用小的数：如果设成 300、200、101，开头的近百个连接会全部落到同一台服务器上。",
	},
}

var schedSH = Step{
	Name:  "sh",
	Title: lang.Text{EN: "sh, source hashing", ZH: "sh：源地址散列"},
	Task: lang.Text{
		EN: "sh: the client's address is hashed to one of 256 buckets, and each bucket belongs to a server. Ask three times, and foretell the fourth.",
		ZH: "sh：把客户端地址散列到 256 个桶中的一个，每个桶归一台服务器。访问三次，然后预测第四次。",
	},
	Type:   lines(edit("sh"), askFirst),
	Checks: []Check{hasService(web, "sh"), weighted, oneServer(web, 3)},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "The same client always meets the same server, and the director remembers nothing for it. When a server comes or goes the buckets are dealt out anew, and most clients change.",
		ZH: "同一个客户端总是到同一台服务器，调度器却不需要记住任何东西。但服务器一有增减，桶就要重新分配，多数客户端会换服务器。",
	},
}

var schedDH = Step{
	Name:  "dh",
	Title: lang.Text{EN: "dh, destination hashing", ZH: "dh：目标地址散列"},
	Task: lang.Text{
		EN: "dh: as sh, but the address that is asked for is hashed. Ask three times, and foretell the fourth.",
		ZH: "dh：与 sh 类似，但散列的是目标地址。访问三次，然后预测第四次。",
	},
	Type:   lines(edit("dh"), askFirst),
	Checks: []Check{hasService(web, "dh"), weighted, oneServer(web, 3)},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "With one VIP there is one address and so one server, whoever asks. dh is for forward proxies behind a firewall mark that stands for the whole Internet: the same site meets the same cache.",
		ZH: "只有一个 VIP，也就只有一个目标地址，无论谁来访问都落到同一台服务器。dh 用于正向代理：用防火墙标记代表整个互联网，让同一个网站总是到同一台缓存服务器。",
	},
}

var schedLC = Step{
	Name:  "lc",
	Title: lang.Text{EN: "lc, least-connection", ZH: "lc：最少连接"},
	Task: lang.Text{
		EN: "The lesson holds 3 connections at rs1, 2 at rs2 and 1 at rs3 open. lc: the least active·256 + inactive. Set it, look at the listing, compute the three figures, and foretell.",
		ZH: "课程现在在 rs1、rs2、rs3 上分别保持 3、2、1 个连接。lc：选择 活动连接数×256 + 非活动连接数 最小的。设置 lc，查看列表，算出三个数值，然后预测。",
	},
	Begin:  stage(web, Active{"rs1": 3, "rs2": 2, "rs3": 1}),
	Type:   lines(edit("lc"), listing),
	Checks: []Check{hasService(web, "lc"), weighted},
	Ask:    predict(web),
	Hints:  []lang.Text{{EN: "ActiveConn counts 256 times, InActConn once.", ZH: "ActiveConn 乘以 256，InActConn 乘以 1，再相加。"}},
	Why: lang.Text{
		EN: "Weights do not count. Where requests differ in length, a server that is slow or unlucky has more open ones, and gets fewer new ones.",
		ZH: "lc 不看权重。请求长短不一时，慢的或碰巧分到重活的服务器上未关闭的连接多，新连接就会少给它。",
	},
}

var schedWLC = Step{
	Name:  "wlc",
	Title: lang.Text{EN: "wlc, weighted least-connection", ZH: "wlc：加权最少连接"},
	Task: lang.Text{
		EN: "Now 3 are held at rs1, 1 at rs2 and 1 at rs3. wlc, the default: the least (active·256 + inactive) / weight. The weights are still 3, 2 and 1.",
		ZH: "现在 rs1、rs2、rs3 上分别保持 3、1、1 个连接。wlc（默认的算法）：选择（活动连接数×256 + 非活动连接数）÷ 权重 最小的。权重仍是 3、2、1。",
	},
	Begin:  stage(web, Active{"rs1": 3, "rs2": 1, "rs3": 1}),
	Type:   lines(edit("wlc"), listing),
	Checks: []Check{hasService(web, "wlc"), weighted},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "rs1 has three times the load of rs3 and three times its weight: the same. rs2 has room. Set weights by what a server can bear, and wlc keeps all equally busy.",
		ZH: "rs1 的负载是 rs3 的三倍，权重也是三倍，所以两者相当；rs2 还有余量。按承载能力设置权重，wlc 就能让各台服务器忙闲程度相同。",
	},
}

var schedSED = Step{
	Name:  "sed",
	Title: lang.Text{EN: "sed, shortest expected delay", ZH: "sed：最短期望延迟"},
	Task: lang.Text{
		EN: "Now rs1 and rs2 have 1 each, and rs3 is idle. sed: the least (active + 1)·256 / weight; the 1 is the connection that is to come, and inactive ones do not count. (The listing of the arithmetic leaves out the 256, which changes no order.)",
		ZH: "现在 rs1 和 rs2 各有 1 个连接，rs3 空闲。sed：选择（活动连接数 + 1）×256 ÷ 权重 最小的；加的 1 就是即将到来的连接，非活动连接不算。（演算时省略了 256，不影响大小顺序。）",
	},
	Begin:  stage(web, Active{"rs1": 1, "rs2": 1, "rs3": 0}),
	Type:   lines(edit("sed"), listing),
	Checks: []Check{hasService(web, "sed"), weighted},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "2/3, 2/2 and 1/1: the strong server is the better choice though a weak one is idle. At low load weak servers get next to nothing.",
		ZH: "2/3、2/2、1/1：虽然弱的服务器空闲着，强的仍是更好的选择。负载低时，弱的服务器几乎分不到请求。",
	},
}

var schedNQ = Step{
	Name:  "nq",
	Title: lang.Text{EN: "nq, never queue", ZH: "nq：永不排队"},
	Task: lang.Text{
		EN: "The same: 1, 1 and 0. nq: a server without active connections at once, whatever its weight; if there is none, as sed.",
		ZH: "状态相同：1、1、0。nq：只要有没有活动连接的服务器，就立即选它，不看权重；如果没有，就与 sed 相同。",
	},
	Begin:  stage(web, Active{"rs1": 1, "rs2": 1, "rs3": 0}),
	Type:   lines(edit("nq"), listing),
	Checks: []Check{hasService(web, "nq"), weighted},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "Nobody may idle. Compare with sed, which decided otherwise on the same figures.",
		ZH: "不让任何一台服务器闲着。与 sed 比较一下：同样的数值，结果却不同。",
	},
}

var schedLBLC = Step{
	Name:  "lblc",
	Title: lang.Text{EN: "lblc, locality-based least-connection", ZH: "lblc：基于局部性的最少连接"},
	Task: lang.Text{
		EN: "lblc is dh with regard to load: an address that was not seen before goes to the choice of wlc, and stays there, unless that server has more active connections than its weight while another has less than half of its own. Ask three times and foretell.",
		ZH: "lblc 是兼顾负载的 dh：没见过的目标地址交给 wlc 选出的服务器，以后就固定在那里；除非那台服务器的活动连接数超过了权重，而另有一台不到自己权重的一半。访问三次，然后预测。",
	},
	Type:   lines(edit("lblc"), askFirst),
	Checks: []Check{hasService(web, "lblc"), weighted, oneServer(web, 3)},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "For caches behind a forward proxy: a site stays with its cache as long as that can bear it. Weights are capacities here.",
		ZH: "用于正向代理后面的缓存：只要承受得住，一个网站就固定在一台缓存上。这里的权重相当于容量。",
	},
}

var schedLBLCR = Step{
	Name:  "lblcr",
	Title: lang.Text{EN: "lblcr, the same with replication", ZH: "lblcr：带复制的 lblc"},
	Task: lang.Text{
		EN: "lblcr: an address has a set of servers. The least loaded of the set gets the connection; if that one is over its weight, the choice of wlc joins the set. Ask three times and foretell.",
		ZH: "lblcr：一个目标地址对应一组服务器，连接交给组里负载最轻的；如果它超过了自己的权重，就把 wlc 选出的服务器加进组里。访问三次，然后预测。",
	},
	Type:   lines(edit("lblcr"), askFirst),
	Checks: []Check{hasService(web, "lblcr"), weighted, oneServer(web, 3)},
	Ask:    predict(web),
	Why: lang.Text{
		EN: "A very popular site spreads over several caches, while the others stay together. Those were the ten. uvs sched sim tries any of them on thousands of connections, with the same code: uvs sched sim -s sed -w 3,2,1 -n 4 --explain",
		ZH: "特别热门的网站会扩散到多台缓存上，其他网站仍各归其位。十种算法到此讲完。uvs sched sim 用同样的代码在成千上万个模拟连接上试验任何一种算法，例如：uvs sched sim -s sed -w 3,2,1 -n 4 --explain",
	},
}
