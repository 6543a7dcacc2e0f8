package top

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"uvs/forwarder/config"
)

// leastWidth is that of the smallest page that shows everything; the least height is 24.
const leastWidth = 80

// text returns the page: as many lines as the terminal has, none longer than it is wide.
func (m *model) text() string {
	foot := m.foot()
	var lines []string
	switch {
	case m.width < 40 || m.height < 8:
		return fmt.Sprintf("uvs top needs 80x24; this is %dx%d", m.width, m.height)
	case m.help:
		lines = strings.Split(helpText, "\n")
	default:
		lines = append(lines, m.title(), "")
		lines = append(lines, m.body(m.height-len(lines)-len(foot))...)
	}
	for len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines[:m.height-len(foot)], foot...)
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return strings.Join(lines, "\n")
}

const helpText = `uvs top: what the director does, once a second

ideal, actual   the server's part of new connections: by weight; of the last
                seconds or, if none came, since the counters were set to zero
act, inact      connections, as ipvsadm -Ln counts them
load            (act x 256 + inact) / weight, by which wlc compares
J               Jain's index of fairness: 1 if each server has its ideal part
max/mean        the largest of actual / ideal, to their mean
drops           frames dropped in the last second; docs/verdicts.md
rings           frames that came, and those for which there was no room

up, down  the service     j, k  its servers     s  their order     p  pause`

func (m *model) title() string {
	if m.now == nil {
		return "uvs top  waiting for the director"
	}
	n := m.now
	in, out := number(float64(n.Totals.InPPS))+" pps", number(float64(n.Totals.OutPPS))+" pps"
	if m.width > leastWidth+20 {
		in += " " + number(8*float64(n.Totals.InBPS)) + "bit/s"
		out += " " + number(8*float64(n.Totals.OutBPS)) + "bit/s"
	}
	return fmt.Sprintf("uvs top  %s  up %s  %s conn/s  in %s  out %s  %d conns", n.Time.Local().Format("15:04:05"),
		upText(time.Duration(n.Uptime)*time.Millisecond), number(float64(n.Totals.CPS)), in, out, n.Connections)
}

// foot returns the last lines: decisions, drops, rings, keys.
func (m *model) foot() []string {
	keys := fmt.Sprintf("q quit  s sort: %s  up/down service  j/k servers  p pause  ? help", sorts[m.sort])
	if m.paused {
		keys = "PAUSED  " + keys
	}
	if m.err != nil {
		keys = "! " + m.err.Error()
	}
	if m.now == nil {
		return []string{keys}
	}
	return []string{m.last(), m.drops(), m.rings(), keys}
}

// last shows the last decisions, the newest first.
func (m *model) last() string {
	text := "last:"
	all := m.now.Decisions
	for i := len(all) - 1; i >= 0 && utf8.RuneCountInString(text) < m.width; i-- {
		to := "no server"
		if all[i].Server.IsValid() {
			to = all[i].Server.String()
		}
		text += fmt.Sprintf("  %v > %s", all[i].Client, to)
	}
	return text
}

func (m *model) drops() string {
	text := "drops:"
	for _, name := range m.now.mostDropped() {
		text += fmt.Sprintf("  %s %s/s", strings.TrimPrefix(name, "drop-"), number(m.now.Drops[name]))
	}
	if len(m.now.Drops) > 0 {
		return text
	}
	most, name := 0.0, ""
	for n, count := range m.dropped {
		if count > most || count == most && n < name {
			most, name = count, n
		}
	}
	if name == "" {
		return text + "  none"
	}
	return fmt.Sprintf("%s  none now; since this page was opened %s %s", text, strings.TrimPrefix(name, "drop-"), number(most))
}

func (m *model) rings() string {
	return fmt.Sprintf("rings: %s frames/s, %s/s lost, %d waiting", number(m.now.Received), number(m.now.RingDrops), m.now.Waiting)
}

// body lists the services, and of the selected one the servers, in so many lines.
func (m *model) body(room int) []string {
	if m.now == nil {
		return nil
	}
	if len(m.now.Services) == 0 {
		return []string{"no services; add one: ipvsadm -A -t 10.0.0.100:80 -s rr"}
	}
	at := 0
	for i, s := range m.now.Services {
		if s.Service == m.selected {
			at = i
		}
	}
	// The servers get what a third of the room for services leaves over.
	listed := min(len(m.now.Services), max(1, room/3))
	first := max(0, min(at-listed/2, len(m.now.Services)-listed))
	var lines []string
	for i, s := range m.now.Services[first : first+listed] {
		lines = append(lines, m.serviceLine(&s, first+i == at))
		if first+i == at {
			servers := m.servers(&s, room-listed)
			lines = append(lines, servers...)
		}
	}
	return lines
}

func (m *model) serviceLine(s *config.ServiceSummary, selected bool) string {
	mark := "  "
	if selected {
		mark = "> "
	}
	line := fmt.Sprintf("%s%s %s  %s conn/s %s  act %s inact %s", mark, serviceName(s.Service), s.Scheduler,
		number(float64(s.Stats.CPS)), spark(m.history[s.Service], 12), number(float64(s.Active)), number(float64(s.Inactive)))
	if s.Jain > 0 {
		line += fmt.Sprintf("  J %.3f  max/mean %.2f", s.Jain, s.MaxOverMean)
	}
	return line
}

func serviceName(k config.Key) string {
	name := k.Name()
	if kind, rest, ok := strings.Cut(name, ":"); ok && kind != "mark" {
		return strings.ToUpper(kind) + " " + rest
	}
	return name
}

// servers lists the servers of a service from the first that is scrolled to.
func (m *model) servers(s *config.ServiceSummary, room int) []string {
	if len(s.Servers)+s.Others == 0 {
		return []string{"    no servers"}
	}
	wide, bars := addressWidth, 0
	if spare := m.width - leastWidth; spare > barWidth {
		bars = barWidth
		wide += min(spare-barWidth, 24) // for IPv6
	}
	lines := []string{fmt.Sprintf("  %-*s %5s %6s %6s %-*s%5s %5s %5s %6s state", wide, "server", "wgt", "ideal", "actual",
		bars, "", "act", "inact", "cps", "load")}
	// What was received may not reach as far as the user has scrolled since.
	listed := s.Servers[max(0, min(m.scroll-s.First, len(s.Servers)-1)):]
	left := s.Others - s.First + len(listed)
	for i := range listed[:min(len(listed), max(0, room-1))] {
		lines = append(lines, serverLine(&listed[i], wide, bars))
		left--
	}
	if left > 0 && room > 2 && len(lines) > 1 {
		lines[len(lines)-1] = fmt.Sprintf("  %d more: j", left+1)
	}
	return lines
}

// Columns of the list of servers: an address with its port, and a bar where there is room.
const addressWidth, barWidth = 21, 10

func serverLine(s *config.ServerSummary, wide, bars int) string {
	address := s.Address.String()
	if len(address) > wide {
		address = "~" + address[len(address)-wide+1:]
	}
	return fmt.Sprintf("  %-*s %5d %5.1f%% %5.1f%% %-*s%5s %5s %5s %6s %s", wide, address, s.Weight, 100*s.Ideal, 100*s.Actual,
		bars, bar(s.Actual, s.Ideal, bars-1), number(float64(s.Active)), number(float64(s.Inactive)),
		number(float64(s.CPS)), number(s.Load), s.State)
}

// bar draws a part beside its ideal: half of the width is the ideal.
func bar(actual, ideal float64, width int) string {
	if ideal == 0 || width < 1 {
		return ""
	}
	n := int(actual/ideal*float64(width)/2 + 0.5)
	return strings.Repeat("=", min(n, width))
}

// spark draws the last values as a line of so many columns; each is the mean of some.
func spark(values []uint64, width int) string {
	const levels = "▁▂▃▄▅▆▇█"
	each := (remembered + width - 1) / width
	most := uint64(1)
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for end := len(values) % each; end <= len(values); end += each {
		part := values[max(0, end-each):end]
		if len(part) == 0 {
			continue
		}
		sum := uint64(0)
		for _, v := range part {
			sum += v
		}
		level := int(sum * 7 / (most * uint64(len(part))))
		b.WriteRune([]rune(levels)[level])
	}
	return b.String()
}

// number writes a number in at most six columns.
func number(v float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		if v < 9999.5 || unit == "T" {
			if unit == "" || v >= 99.95 {
				return fmt.Sprintf("%.0f%s", v, unit)
			}
			return fmt.Sprintf("%.1f%s", v, unit)
		}
		v /= 1000
	}
	return ""
}

func upText(d time.Duration) string {
	d = d.Round(time.Second)
	if d >= 24*time.Hour {
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%02d:%02d:%02d", d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}

// cut shortens a line to a width.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}
