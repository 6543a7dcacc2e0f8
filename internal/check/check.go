// Package check reads the arguments of `uvs check` and the lines that begin with "check" in
// a rules file, and prints what checks have found.
//
//	check add -t 10.0.0.1:80 --http /health --act hold --at-most 50%
//
// A service is named as in ipvsadm (-t, -u, -f with -6). The package only reads and writes
// text. It keeps no state.
package check

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// Op is what a command line asks for.
type Op byte

// Operations.
const (
	Now Op = iota // ask once
	List
	Add
	Delete
)

// Command is a parsed command line.
type Command struct {
	Op    Op
	Key   config.Key    // the service; zero in Now and List means all
	Check *config.Check // of Add; of Now and Delete nil means those that the service has
	JSON  bool          // of Now and List
	Save  bool          // of List: as commands
}

// words are the values of the options on a command line.
type words struct {
	service                    ipvsadm.KeyOptions
	json, save                 bool
	tcp, udp, passive          bool
	http, https                string
	host, status, send, expect string
	to, source, act, atMost    string
	interval, timeout          time.Duration
	rise, fall                 uint8
}

// flags returns the options; parsing them fills w.
func flags(w *words) *pflag.FlagSet {
	f := pflag.NewFlagSet("check", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	w.service.AddTo(f)
	f.BoolVar(&w.tcp, "tcp", false, "ask for a connection (the default for TCP)")
	f.StringVar(&w.http, "http", "", "get a page by HTTP: a path such as /health")
	f.StringVar(&w.https, "https", "", "get a page by HTTPS")
	f.BoolVar(&w.udp, "udp", false, "send a datagram, and want one back (the default for UDP)")
	f.BoolVar(&w.passive, "passive", false, "ask nothing: go by the connections of clients that fail")
	f.StringVar(&w.host, "host", "", "name for HTTP and TLS (default the virtual address)")
	f.StringVar(&w.status, "status", "", "good status codes, such as 200-299,401 (default "+config.DefaultStatus+")")
	f.StringVar(&w.send, "send", "", `text to send by --tcp and --udp; \n, \r, \t and \xNN are understood`)
	f.StringVar(&w.expect, "expect", "", "how the answer begins")
	f.StringVar(&w.to, "to", "", "ADDRESS:PORT to ask, for a service by mark or on all ports")
	f.StringVar(&w.source, "source", "", "address of this host to ask from")
	f.DurationVar(&w.interval, "interval", 0, fmt.Sprintf("time between two probes of a server (default %s)", config.DefaultInterval))
	f.DurationVar(&w.timeout, "timeout", 0, fmt.Sprintf("how long a probe may take (default %s)", config.DefaultTimeout))
	f.Uint8Var(&w.rise, "rise", 0, fmt.Sprintf("good probes in a row until a server is up again (default %d)", config.DefaultRise))
	f.Uint8Var(&w.fall, "fall", 0, fmt.Sprintf("bad probes in a row until a server is down (default %d)", config.DefaultFall))
	f.StringVar(&w.act, "act", "", "what follows: show, or hold (no new connections to a server that is down)")
	f.StringVar(&w.atMost, "at-most", "", fmt.Sprintf("share of the service's servers that is held at once (default %d%%)", config.DefaultAtMost))
	f.BoolVar(&w.json, "json", false, "print JSON")
	f.BoolVarP(&w.save, "save", "S", false, "list as commands")
	f.BoolP("numeric", "n", true, "accepted for ipvsadm's sake: listings are numeric")
	return f
}

// Usage describes the options.
func Usage() string { return flags(&words{}).FlagUsages() }

var ops = map[string]Op{"now": Now, "list": List, "add": Add, "delete": Delete, "del": Delete, "rm": Delete, "ls": List}

// Parse reads a command line without the word check; names resolves names of hosts and
// ports. The error is pflag.ErrHelp for --help.
func Parse(args []string, names ipvsadm.Names) (Command, error) {
	var w words
	f := flags(&w)
	if err := f.Parse(args); err != nil {
		return Command{}, err
	}
	c := Command{JSON: w.json, Save: w.save}
	switch op, known := ops[f.Arg(0)]; {
	case f.NArg() > 1:
		return c, fmt.Errorf("%s: what for? Options begin with --", f.Arg(1))
	case known:
		c.Op = op
	case f.NArg() == 1:
		return c, fmt.Errorf("%s: it is add, list or delete, or nothing to ask once", f.Arg(0))
	}
	var err error
	if c.Key, err = w.service.Key(names); err != nil {
		return c, err
	}
	if c.Check, err = w.check(f, c.Key); err != nil {
		return c, err
	}
	return c, c.validate(f)
}

// validate reports options that an operation does not take.
func (c *Command) validate(f *pflag.FlagSet) error {
	switch {
	case c.Save && c.Op != List:
		return errors.New("-S is of list")
	case c.JSON && (c.Op == Add || c.Op == Delete):
		return errors.New("--json is of list, and of asking once")
	case c.JSON && c.Save:
		return errors.New("-S or --json")
	case c.Op == List && c.Check != nil:
		return errors.New("list takes a service, --json or -S")
	case c.Key == (config.Key{}) && (c.Op == Add || c.Op == Delete):
		return errors.New("a check needs a service: -t, -u or -f")
	case c.Op == Now && (f.Changed("act") || f.Changed("at-most") || f.Changed("rise") || f.Changed("fall") || f.Changed("interval")):
		return errors.New("asking once does not act: use check add")
	case c.Op == Add && c.Check == nil:
		c.Check = &config.Check{Kind: usual(c.Key)}
	}
	if c.Check != nil && c.Op == Now {
		if err := c.Check.ValidateOnce(); err != nil {
			return err
		}
	}
	if c.Check == nil || c.Op == Delete || c.Key == (config.Key{}) {
		return nil
	}
	if c.Op == Add {
		return c.Check.ValidateRepeated(c.Key)
	}
	return c.Check.ValidateFor(c.Key)
}

// usual returns the kind of check for a service that names none.
func usual(k config.Key) config.CheckKind {
	if k.Proto == config.UDP {
		return config.CheckUDP
	}
	return config.CheckTCP
}

// check returns the check that the options describe, nil for none.
func (w *words) check(f *pflag.FlagSet, k config.Key) (*config.Check, error) {
	kinds := map[string]config.CheckKind{"tcp": config.CheckTCP, "udp": config.CheckUDP, "http": config.CheckHTTP, "https": config.CheckHTTPS,
		"passive": config.CheckPassive}
	given := 0
	c := config.Check{Kind: usual(k)}
	for name, kind := range kinds {
		if f.Changed(name) {
			c.Kind = kind
			given++
		}
	}
	if given > 1 {
		return nil, errors.New("one of --tcp, --http, --https, --udp and --passive")
	}
	c.Path, c.Host, c.Status = w.http+w.https, w.host, w.status
	c.Rise, c.Fall = w.rise, w.fall
	if err := w.values(&c); err != nil {
		return nil, err
	}
	if given == 0 && c == (config.Check{Kind: c.Kind}) {
		return nil, nil
	}
	return &c, nil
}

// values reads the options that are more than a word.
func (w *words) values(c *config.Check) (err error) {
	if c.Send, err = config.Unescape(w.send); err != nil {
		return err
	}
	if c.Expect, err = config.Unescape(w.expect); err != nil {
		return err
	}
	if w.to != "" {
		if c.To, err = netip.ParseAddrPort(w.to); err != nil {
			return fmt.Errorf("--to %s: it is not an address and a port", w.to)
		}
	}
	if w.source != "" {
		if c.Source, err = netip.ParseAddr(w.source); err != nil {
			return fmt.Errorf("--source %s: it is not an address", w.source)
		}
	}
	if c.Interval, err = milliseconds("interval", w.interval); err != nil {
		return err
	}
	if c.Timeout, err = milliseconds("timeout", w.timeout); err != nil {
		return err
	}
	if w.atMost != "" {
		n, err := strconv.ParseUint(strings.TrimSuffix(w.atMost, "%"), 10, 8)
		if err != nil || n < 1 || n > 100 {
			return fmt.Errorf("--at-most %s: it is a share from 1%% to 100%%", w.atMost)
		}
		c.AtMost = uint8(n)
	}
	switch w.act {
	case "", "show":
	case string(config.ActHold):
		c.Act = config.ActHold
	default:
		return fmt.Errorf("--act %s: it is show or hold", w.act)
	}
	return nil
}

func milliseconds(name string, d time.Duration) (uint32, error) {
	if ms := d.Milliseconds(); d == 0 || ms > 0 && ms <= 24*3600*1000 {
		return uint32(ms), nil
	}
	return 0, fmt.Errorf("--%s %s: it is not between 10ms and a day", name, d)
}

// Config returns the command of an Add or a Delete.
func (c Command) Config() config.Command {
	op := config.OpAddCheck
	if c.Op == Delete {
		op = config.OpDeleteCheck
	}
	return config.Command{Op: op, Service: &config.Service{Key: c.Key}, Check: c.Check}
}
