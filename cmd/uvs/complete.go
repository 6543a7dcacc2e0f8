package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
	"uvs/sched"
)

// completeWithin is how long a completion waits for a director.
const completeWithin = time.Second

// suggestions returns what may stand after an option: of the services of the director, and for
// the other words of the line.
type suggestions func(services []config.ServiceState, line []string) []string

// byFlag says what may follow the flags that name a service, a server or an interface, in each verb
// that has a flag so named.
var byFlag = map[string]suggestions{
	"tcp-service":    addressesOf(config.TCP),
	"udp-service":    addressesOf(config.UDP),
	"sctp-service":   addressesOf(config.SCTP),
	"fwmark-service": marksOf,
	"real-server":    serversOf,
	"interface":      interfaces,
}

// byWord says the same of the words of ipvsadm and of the verbs that share its words for
// services.
var byWord = map[string]suggestions{
	"-t": byFlag["tcp-service"], "--tcp-service": byFlag["tcp-service"],
	"-u": byFlag["udp-service"], "--udp-service": byFlag["udp-service"],
	"--sctp-service": byFlag["sctp-service"],
	"-f":             marksOf, "--fwmark-service": marksOf,
	"-r": serversOf, "--real-server": serversOf,
	"--laddr":           localsOf,
	"--mcast-interface": interfaces,
	"-s":                fixed(sched.Names()...), "--scheduler": fixed(sched.Names()...),
	"--pe":           fixed("sip"),
	"--tun-type":     fixed("ipip", "gue", "gre"),
	"--start-daemon": fixed("master", "backup"),
	"--stop-daemon":  fixed("master", "backup"),
}

// markWords is the same for uvs mark, which has iptables' words.
var markWords = map[string]suggestions{
	"-p": fixed("tcp", "udp", "sctp", "all"), "--protocol": fixed("tcp", "udp", "sctp", "all"),
	"--set-mark": marksOf,
}

// complete gives root's commands the completions that ask the director.
func complete(root *cobra.Command) {
	for _, c := range root.Commands() {
		complete(c)
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if s, ok := byFlag[f.Name]; ok {
				_ = c.RegisterFlagCompletionFunc(f.Name, completeFlag(s))
			}
		})
		if !c.DisableFlagParsing {
			continue
		}
		switch c.Name() {
		case "mark":
			c.ValidArgsFunction = completeWords(markWords, optionsIn(c.Long))
		case "ipvsadm":
			c.ValidArgsFunction = completeWords(byWord, ipvsadm.Options())
		default:
			c.ValidArgsFunction = completeWords(byWord, optionsIn(c.Long))
		}
	}
}

// completeFlag completes the value of a flag.
func completeFlag(s suggestions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		socket, _ := cmd.Flags().GetString("socket")
		var line []string
		cmd.Flags().Visit(func(f *pflag.Flag) { line = append(line, "--"+f.Name, f.Value.String()) })
		return s(servicesAt(cmd.Context(), socket), line), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeWords completes the command line of a verb that reads its words itself.
func completeWords(values map[string]suggestions, options []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		socket, line := leadingSocket(args)
		last := ""
		if len(line) > 0 {
			last = option(line[len(line)-1])
		}
		if values[last] != nil {
			return values[last](servicesAt(cmd.Context(), socket), line), cobra.ShellCompDirectiveNoFileComp
		}
		if strings.HasPrefix(begun, "-") {
			return options, cobra.ShellCompDirectiveNoFileComp
		}
		switch {
		case cmd.Name() == "synproxy":
			return []string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp
		case cmd.Name() == "check" && len(line) == 0:
			return []string{"add", "list", "delete"}, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// servicesAt returns the services of the director, none if it does not answer soon. It starts
// no director.
func servicesAt(ctx context.Context, socket string) []config.ServiceState {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	services, err := client.New(socket).Services(ctx)
	if err != nil {
		return nil
	}
	return services
}

func addressesOf(p config.Proto) suggestions {
	return func(services []config.ServiceState, _ []string) (words []string) {
		for _, s := range services {
			if s.Key.Mark == 0 && s.Key.Proto == p {
				words = append(words, address(s.Key))
			}
		}
		return words
	}
}

func address(k config.Key) string {
	_, address, _ := strings.Cut(k.Name(), ":")
	return address
}

func marksOf(services []config.ServiceState, _ []string) (words []string) {
	for _, s := range services {
		if s.Key.Mark != 0 {
			words = append(words, fmt.Sprint(s.Key.Mark))
		}
	}
	return words
}

// serversOf returns the servers of the service that the line names. If it adds a server, or names
// no service there is, those of all services.
func serversOf(services []config.ServiceState, line []string) []string {
	named := slices.IndexFunc(services, func(s config.ServiceState) bool { return names(line, s.Key) })
	if named >= 0 && !slices.ContainsFunc(line, adds.MatchString) {
		services = services[named : named+1]
	}
	all := map[string]bool{}
	for _, s := range services {
		for _, server := range s.Servers {
			all[server.AddrPort().String()] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// adds matches the words by which ipvsadm adds a server.
var adds = regexp.MustCompile(`^(--add-server|-\w*a\w*)$`)

// names reports whether an option of the line names the service k.
func names(line []string, k config.Key) bool {
	for i, word := range line[:max(len(line)-1, 0)] {
		value := line[i+1]
		switch option(word) {
		case "-t", "--tcp-service", "-u", "--udp-service", "--sctp-service":
			if k.Mark == 0 && value == address(k) {
				return true
			}
		case "-f", "--fwmark-service":
			if k.Mark != 0 && value == fmt.Sprint(k.Mark) {
				return true
			}
		}
	}
	return false
}

func localsOf(services []config.ServiceState, line []string) (words []string) {
	for _, s := range services {
		if names(line, s.Key) {
			for _, a := range s.Local {
				words = append(words, a.String())
			}
		}
	}
	return words
}

func interfaces([]config.ServiceState, []string) (words []string) {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, l := range links {
		words = append(words, l.Name)
	}
	return words
}

func fixed(words ...string) suggestions {
	return func([]config.ServiceState, []string) []string { return words }
}

// optionLine matches the line of a flag in a help text.
var optionLine = regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[a-z0-9-]+)`)

// optionsIn returns the options that a help text explains.
func optionsIn(text string) []string {
	words := []string{"--socket"}
	for _, line := range optionLine.FindAllStringSubmatch(text, -1) {
		words = append(words, line[2])
		if line[1] != "" {
			words = append(words, line[1])
		}
	}
	return words
}

// option returns the option that takes the next word: the last letter of several
// that are written as one.
func option(word string) string {
	if len(word) > 2 && word[0] == '-' && word[1] != '-' {
		return "-" + word[len(word)-1:]
	}
	return word
}
