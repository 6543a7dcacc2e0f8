package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/explain"
)

const explainUsage = "uvs explain last | CLIENT:PORT | code NAME | --dry PROTOCOL SOURCE DESTINATION [FLAGS]"

// explainer is one `uvs explain`.
type explainer struct {
	socket          string
	asJSON, oneline bool
	dry             bool
	packet          config.DryPacket
	about           string
	out             io.Writer
	client          *client.Client
	ctx             context.Context
}

func explainCmd() *cobra.Command {
	var e explainer
	cmd := &cobra.Command{
		Use:   strings.TrimPrefix(explainUsage, "uvs "),
		Short: "Say what becomes of a packet, and why",
		Long: `Say what becomes of a packet, step by step: which service it matches and why not
another, its connection and what is left of its time, the scheduler's arithmetic, the next
hop, what is rewritten and what stays the same, and what its verdict means.

  last           the packet that was traced last
  CLIENT:PORT    the next packet of each connection of a client
  code NAME      cause, typical mistake and mending of a verdict, such as drop-no-route
  --dry          a packet that nobody has sent, and the server's answer to it. Nothing is
                 sent and nothing changes: no cursor moves, no template is made

  uvs explain --dry tcp 172.16.0.9:5000 10.0.0.100:80
  uvs explain --dry udp 172.16.0.9:5000 10.0.0.100:53 --length 1472 --df
  uvs explain --dry icmp 172.16.0.1 10.0.0.100 --about 'tcp 10.0.0.100:80 172.16.0.9:5000'

FLAGS are those of TCP, such as syn or fin,ack, or the first chunk of SCTP, such as init;
without any the packet opens a connection.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			e.out, e.client, e.ctx = cmd.OutOrStdout(), client.New(e.socket), cmd.Context()
			return e.run(args)
		},
	}
	traceFlags(cmd, &e.socket, &e.asJSON)
	f := cmd.Flags()
	f.BoolVar(&e.oneline, "oneline", false, "print one line")
	f.BoolVar(&e.dry, "dry", false, "explain a packet that nobody has sent")
	f.StringVar(&e.packet.Link, "interface", "", "interface on which the packet arrives (the one by which its source is reached)")
	f.IntVar(&e.packet.Length, "length", 0, "bytes of payload")
	f.StringVar(&e.packet.Data, "data", "", "text of the payload")
	f.Uint8Var(&e.packet.TTL, "ttl", 64, "TTL or hop limit")
	f.BoolVar(&e.packet.DF, "df", false, "don't fragment")
	f.Uint32Var(&e.packet.Seq, "seq", 0, "sequence number of TCP")
	f.Uint32Var(&e.packet.Ack, "ack", 0, "acknowledgement number of TCP")
	f.Uint8Var(&e.packet.Type, "type", 0, "type of ICMP (an echo request, or port unreachable with --about)")
	f.Uint8Var(&e.packet.Code, "code", 0, "code of ICMP")
	f.StringVar(&e.about, "about", "", "packet that an ICMP error is about: 'PROTOCOL SOURCE DESTINATION'")
	return cmd
}

func (e *explainer) run(args []string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("explain: an argument is missing; usage: %s", explainUsage)
	case e.dry:
		return e.explainDry(args)
	case args[0] == "code":
		return e.code(args[1:])
	case args[0] == "last" && len(args) == 1:
		x, err := e.client.ExplainLast(e.ctx)
		if err != nil {
			return err
		}
		return e.print(&x)
	}
	return e.flow(args)
}

func (e *explainer) code(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("explain: the name of a verdict is missing, such as: uvs explain code drop-no-route")
	}
	for _, name := range names {
		m, err := explain.Meaning(name)
		if err != nil {
			return fmt.Errorf("explain: there is no verdict %q; uvs stats -a lists them", name)
		}
		if e.asJSON {
			err = json.NewEncoder(e.out).Encode(m)
		} else if e.oneline {
			_, err = fmt.Fprintf(e.out, "%s: %s\n", m.Code, m.Means)
		} else {
			err = explain.PrintMeaning(e.out, &m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *explainer) explainDry(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("explain: --dry needs a protocol, a source and a destination, such as: uvs explain --dry tcp 172.16.0.9:5000 10.0.0.100:80")
	}
	if err := readPacket(&e.packet, args[:3]); err != nil {
		return err
	}
	e.packet.Flags = strings.Join(args[3:], ",")
	if e.about != "" {
		e.packet.About = &config.DryPacket{}
		if err := readPacket(e.packet.About, strings.Fields(e.about)); err != nil {
			return err
		}
	}
	x, err := e.client.Explain(e.ctx, e.packet)
	if err != nil {
		return err
	}
	return e.print(&x)
}

// readPacket reads a protocol and two ends.
func readPacket(p *config.DryPacket, words []string) (err error) {
	if len(words) != 3 {
		return fmt.Errorf("explain: %q: a packet is PROTOCOL SOURCE DESTINATION", strings.Join(words, " "))
	}
	p.Proto = strings.ToLower(words[0])
	ports := p.Proto == "tcp" || p.Proto == "udp" || p.Proto == "sctp"
	if p.Source, err = readEnd(words[1], ports, 40000); err != nil {
		return err
	}
	p.Destination, err = readEnd(words[2], ports, 0)
	return err
}

// readEnd reads an address with its port, if it has one. A source needs none.
func readEnd(word string, needsPort bool, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(word); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddr(strings.Trim(word, "[]"))
	switch {
	case err != nil:
		return netip.AddrPort{}, fmt.Errorf("explain: %q is no address, such as 10.0.0.100:80 or [fd00::1]:80", word)
	case needsPort && port == 0:
		return netip.AddrPort{}, fmt.Errorf("explain: %s: the destination needs a port", word)
	case !needsPort:
		port = 0
	}
	return netip.AddrPortFrom(a, port), nil
}

// flow explains the next packet of the connections of a client.
func (e *explainer) flow(args []string) error {
	words := slices.DeleteFunc(args, func(w string) bool { return w == ">" || w == "→" })
	proto := ""
	if len(words) > 1 && !strings.ContainsAny(words[0], ".:") {
		proto, words = strings.ToLower(words[0]), words[1:]
	}
	from, err := netip.ParseAddrPort(words[0])
	if err != nil || len(words) > 2 {
		return fmt.Errorf("explain: %q is not known; usage: %s", strings.Join(args, " "), explainUsage)
	}
	found := 0
	for c, err := range e.client.Connections(e.ctx) {
		if err != nil {
			return err
		}
		if c.Template || c.Client != from || proto != "" && c.Proto.String() != proto || len(words) == 2 && c.Virtual.String() != words[1] {
			continue
		}
		found++
		x, err := e.client.Explain(e.ctx, config.DryPacket{Proto: c.Proto.String(), Source: c.Client, Destination: c.Virtual, Flags: nextFlags(c.Proto)})
		if err != nil {
			return err
		}
		if err := e.print(&x); err != nil {
			return err
		}
	}
	if found == 0 {
		return fmt.Errorf("explain: there is no connection of %s; what would become of a new one says: uvs explain --dry tcp %s VIP:PORT", from, from)
	}
	return nil
}

// nextFlags returns the flags of an ordinary packet in the middle of a connection.
func nextFlags(p config.Proto) string {
	switch p {
	case config.TCP:
		return "ack"
	case config.SCTP:
		return "data"
	}
	return ""
}

func (e *explainer) print(x *config.Explanation) error {
	switch {
	case e.asJSON:
		return json.NewEncoder(e.out).Encode(x)
	case e.oneline:
		_, err := fmt.Fprintln(e.out, x.Line)
		if x.Reply != nil && err == nil {
			_, err = fmt.Fprintln(e.out, x.Reply.Line)
		}
		return err
	}
	return explain.PrintExplanation(e.out, x)
}
