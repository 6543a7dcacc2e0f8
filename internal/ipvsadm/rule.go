package ipvsadm

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"uvs/forwarder/config"
)

// Rule is a parsed line of a rules file: a command for the table of services, timeouts to
// set, or a synchronization daemon to start. Exactly one is set.
type Rule struct {
	Command  *config.Command
	Timeouts *config.Timeouts
	Daemon   *config.Daemon
}

// ParseRule reads a line as -S and FormatCommand write it, with names resolved by names. A
// nil Rule is a blank line. Marks may be negative, as -S writes those above 2147483647.
func ParseRule(line string, names Names) (*Rule, error) {
	t := &Tool{Program: "ipvsadm", Names: names}
	words := t.words(line)
	if len(words) == 0 {
		return nil, nil
	}
	r, err := t.parse(unsignedMarks(words))
	if err != nil {
		return nil, plainError(err)
	}
	if c, ok := r.change(); ok {
		return &Rule{Command: &c}, nil
	}
	switch r.command {
	case cmdSet:
		return &Rule{Timeouts: &r.timeouts}, nil
	case cmdStartDaemon:
		return &Rule{Daemon: &r.daemon}, nil
	}
	return nil, fmt.Errorf("%s is no rule", words[0])
}

// ParseKey reads the name of a service as ipvsadm takes it: an option (-t, -u,
// --sctp-service or -f) with its value, and whether -6 follows. Negative marks are
// read as by ParseRule.
func ParseKey(option, value string, ipv6 bool, names Names) (config.Key, error) {
	t, r := &Tool{Names: names}, &request{}
	if option == "-f" {
		value = unsignedMark(value)
	}
	err := t.parseService(r, keyOptions[option], value)
	if err == nil && ipv6 {
		err = r.setIPv6()
	}
	if err != nil {
		return config.Key{}, plainError(err)
	}
	return r.service.Key.Normal(), nil
}

// keyOptions are the options that name a service.
var keyOptions = map[string]option{"-t": wordTCP, "-u": wordUDP, "--sctp-service": wordSCTP, "-f": wordMark}

// plainError returns an error's message for standard error as one line.
func plainError(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "Try `") {
		return errors.New("this is not a rule such as -A -t 10.0.0.1:80 -s rr")
	}
	return errors.New(strings.TrimSpace(text))
}

// unsignedMarks makes the marks of -f unsigned.
func unsignedMarks(words []string) []string {
	for i := range words[1:] {
		if words[i] == "-f" {
			words[i+1] = unsignedMark(words[i+1])
		}
	}
	return words
}

// unsignedMark returns a negative mark as the unsigned number of the same 32 bits,
// and any other text as it is.
func unsignedMark(text string) string {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && n < 0 {
		return strconv.FormatUint(uint64(uint32(n)), 10)
	}
	return text
}

// FormatCommand formats a command for ParseRule. Unlike -S it omits nothing, and the result
// depends only on the command.
func FormatCommand(c config.Command) string {
	text := commandWords[c.Op]
	if c.Service != nil {
		text += " " + c.Service.Key.Normal().String()
	}
	switch c.Op {
	case config.OpAddService, config.OpEditService:
		return text + serviceWords(*c.Service)
	case config.OpAddServer, config.OpEditServer:
		return text + " -r " + c.Server.AddrPort().String() + serverWords(*c.Server)
	case config.OpDeleteServer:
		return text + " -r " + c.Server.AddrPort().String()
	case config.OpAddLocal, config.OpDeleteLocal:
		return text + " --laddr " + c.Local.String()
	case config.OpSetPolicy:
		return text + " " + c.Policy.String()
	case config.OpSetSynProxy:
		if c.SynProxy {
			return text + " on"
		}
		return text + " off"
	case config.OpSetVIPRole:
		return text + " " + cmp.Or(string(c.VIPRole), "default")
	case config.OpAddCheck, config.OpDeleteCheck:
		if c.Check != nil {
			return text + " " + c.Check.String()
		}
	}
	return text
}

var commandWords = map[config.Op]string{
	config.OpAddService: "-A", config.OpEditService: "-E", config.OpDeleteService: "-D",
	config.OpFlush: "-C", config.OpZero: "-Z",
	config.OpAddServer: "-a", config.OpEditServer: "-e", config.OpDeleteServer: "-d",
	config.OpAddLocal: "--add-laddr", config.OpDeleteLocal: "--del-laddr",
	config.OpSetPolicy: "policy", config.OpSetSynProxy: "synproxy", config.OpSetVIPRole: "vip",
	config.OpAddCheck: "check add", config.OpDeleteCheck: "check delete", // no commands of ipvsadm: package rules reads them
}

func serviceWords(v config.Service) string {
	text := " -s " + v.Scheduler
	if v.Persistent != 0 {
		text += fmt.Sprintf(" -p %d", v.Persistent)
	}
	if v.Netmask != "" {
		text += " -M " + v.Netmask
	}
	if v.PE != "" {
		text += " --pe " + v.PE
	}
	if v.OnePacket {
		text += " -o"
	}
	if v.Flags != 0 {
		flags, _ := v.Flags.MarshalText()
		text += " -b " + string(flags)
	}
	return text
}

func serverWords(s config.Server) string {
	text := fmt.Sprintf(" %s -w %d", methodOption(s.Method), s.Weight)
	if s.Upper != 0 {
		text += fmt.Sprintf(" -x %d", s.Upper)
	}
	if s.Lower != 0 {
		text += fmt.Sprintf(" -y %d", s.Lower)
	}
	return text + tunnelRule(s)
}

// FormatTimeouts formats timeouts for ParseRule.
func FormatTimeouts(t config.Timeouts) string {
	return fmt.Sprintf("--set %d %d %d", t.TCP, t.TCPFin, t.UDP)
}

// FormatDaemon formats a daemon for ParseRule.
func FormatDaemon(d config.Daemon) string {
	text := fmt.Sprintf("--start-daemon %s --mcast-interface %s --syncid %d", d.State, d.Interface, d.SyncID)
	if d.MaxLen != 0 {
		text += fmt.Sprintf(" --sync-maxlen %d", d.MaxLen)
	}
	if d.Group.IsValid() {
		text += fmt.Sprintf(" --mcast-group %s", d.Group)
	}
	if d.Port != 0 {
		text += fmt.Sprintf(" --mcast-port %d", d.Port)
	}
	if d.TTL != 0 {
		text += fmt.Sprintf(" --mcast-ttl %d", d.TTL)
	}
	return text
}
