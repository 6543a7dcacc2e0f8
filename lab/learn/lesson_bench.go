package learn

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"uvs/internal/lang"
)

// benchmark: what a measured figure is worth.
var benchmark = Lesson{
	Name:  "bench",
	Title: lang.Text{EN: "Benchmark honestly: noise, baseline, smallest claim", ZH: "诚实地测性能：噪声、基准与最小可断言差异"},
	Goal: lang.Text{
		EN: "You measure what a packet costs, see how noisy your machine is, and know how small a difference you may claim.",
		ZH: "测量一个报文的代价，看出机器的噪声有多大，并弄清多小的差异才敢断言。",
	},
	Picture: `
generator ──▶ director (DR) or null forwarder ──▶ sink
CPU 0         CPU 1                               CPU 0
`,
	Ways: lang.Text{
		EN: "uvs bench makes namespaces of its own for this, apart from the nodes of the lab. The targets take turns, so that a disturbance meets all of them.",
		ZH: "uvs bench 为此建立自己的命名空间，与实验环境的节点分开。各个对象轮流测量，这样干扰会落到所有对象头上。",
	},
	Topology: "nat",
	Steps: []Step{
		{
			Name:  "noise",
			Title: lang.Text{EN: "How quiet is this machine?", ZH: "这台机器有多安静？"},
			Task: lang.Text{
				EN: "/run/lesson.yaml is a short case: DR beside a forwarder that does everything a port does and nothing else. Read it, run it, and keep the report. It takes some seconds.",
				ZH: "/run/lesson.yaml 是一个简短的用例：把 DR 与一个空转发器相比较，后者只做端口要做的事，此外什么也不做。看一看，运行它，并保存报告。这需要几秒钟。",
			},
			Begin: writesCase,
			Type: lines(
				look("client", "cat /run/lesson.yaml"),
				on("client", "uvs bench run /run/lesson.yaml --json /run/report.json | tee /run/report.txt"),
			),
			Checks: []Check{measured("null", "dr")},
			Ask: &Question{
				Text:  lang.Text{EN: "Which noise grade has this run (A to D)?", ZH: "这次运行的噪声等级是什么（A 到 D）？"},
				Right: func(s *Scene) (string, error) { r, err := s.report(); return r.Noise.Grade, err },
			},
			Why: lang.Text{
				EN: "The grade comes from how long the measuring thread did not run, what the hypervisor stole, and how late it woke. A figure from a noisy machine is a figure about its neighbours. So never compare two numbers of two days: let both targets take turns in one run, and give the ratio.",
				ZH: "等级取决于测量线程有多少时间没有运行、被虚拟机管理程序偷走多少时间，以及唤醒得有多晚。噪声大的机器测出来的数字，说的其实是它的邻居。所以不要拿两天的两个数字作比较：让两个对象在同一次运行中轮流测量，并给出比值。",
			},
		},
		{
			Name:  "claim",
			Title: lang.Text{EN: "The same, beside itself", ZH: "自己与自己相比"},
			Task: lang.Text{
				EN: "The null forwarder was measured twice, as two processes (null and null/again). Nothing differs between them but chance. Look at the line A/A.",
				ZH: "空转发器测了两遍，是两个进程（null 和 null/again）。它们之间除了偶然没有任何区别。请看 A/A 那一行。",
			},
			Type:   look("client", "grep A/A /run/report.txt"),
			Checks: []Check{measured("null", "dr")},
			Ask: &Question{
				Text:  lang.Text{EN: "By how many percent must the CPU time (64B/100/cpu) differ before this run claims anything? Answer nothing if it claims nothing.", ZH: "CPU 时间（64B/100/cpu）至少相差百分之几，这次运行才敢断言？如果什么也不能断言，请回答 nothing。"},
				Right: smallestClaim,
				Judge: func(s *Scene, answer string) *Miss {
					right, err := smallestClaim(s)
					if err != nil {
						return missed(err)
					}
					if strings.Trim(answer, "±% ") == right {
						return nil
					}
					return &Miss{Saw: lang.Textf("your answer: %s", "你的回答：%s", answer), Want: lang.Text{EN: "what stands behind ± for 64B/100/cpu", ZH: "64B/100/cpu 后面 ± 的数字"}}
				},
			},
			Why: lang.Text{
				EN: "What a target differs from itself by is the smallest difference that the run can see in others. More rounds make it smaller, a quiet machine more so. An honest report says: ratio, interval, grade, smallest claim, and what was compared. uvs bench full does, and uvs bench run with limits ends with status 1 if one is not kept.",
				ZH: "一个对象与自己相差多少，就是这次运行在别的对象身上能看出的最小差异。轮数越多它越小，机器安静则更有效。诚实的报告会写明：比值、置信区间、噪声等级、最小可断言差异，以及比较的是什么。uvs bench full 就是这样做的；uvs bench run 可以带限值，有一项不满足时退出状态为 1。",
			},
		},
	},
}

// benchCase is as short as a run can be that claims something.
const benchCase = `name: lesson
about: DR beside a forwarder that does nothing, in some seconds
parts:
  - measure: quick
    mode: [null, dr]
    size: [64]
    flows: [100]
    rounds: 3
    warm: 50ms
    window: 100ms
`

// writesCase puts the case into the client's /run.
func writesCase(s *Scene) error {
	c := s.Lab.Command("client", "sh", "-c", "cat >/run/lesson.yaml")
	c.Stdin = strings.NewReader(benchCase)
	return c.Run()
}

// benchReport is what the lesson reads of a report of uvs bench.
type benchReport struct {
	Kind  string `json:"kind"`
	Parts []struct {
		Done map[string]int `json:"rounds_done"`
	} `json:"parts"`
	Noise struct {
		Grade string `json:"grade"`
	} `json:"noise"`
	Claims []struct {
		Measure string  `json:"measure"`
		Claim   float64 `json:"claim"`
	} `json:"claims"`
}

func (s *Scene) report() (r benchReport, err error) {
	out, err := s.output("client", "cat", "/run/report.json")
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return r, fmt.Errorf("learn: /run/report.json: %w", err)
	}
	return r, nil
}

// measured: a report is there in which each target was measured in each round.
func measured(targets ...string) Check {
	return Check{
		What: lang.Textf("/run/report.json has measured %s", "/run/report.json 中测量了 %s", strings.Join(targets, ", ")),
		Look: func(s *Scene) *Miss {
			r, err := s.report()
			if err != nil {
				return missed(err)
			}
			if len(r.Parts) > 0 && !slices.ContainsFunc(targets, func(t string) bool { return r.Parts[0].Done[t] < 3 }) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("a report of kind %q with %d parts", "报告类型 %q，共 %d 部分", r.Kind, len(r.Parts)),
				Want: lang.Text{EN: "three rounds of each", ZH: "每个对象三轮"},
			}
		},
	}
}

// smallestClaim answers what the report says about the CPU time, in percent.
func smallestClaim(s *Scene) (string, error) {
	r, err := s.report()
	for _, c := range r.Claims {
		if c.Measure != "64B/100/cpu" {
			continue
		}
		if c.Claim >= 1 {
			return "nothing", nil
		}
		return strconv.FormatFloat(100*c.Claim, 'f', 1, 64), nil
	}
	if err == nil {
		err = fmt.Errorf("learn: /run/report.json says nothing about 64B/100/cpu")
	}
	return "", err
}
