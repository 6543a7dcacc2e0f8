package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/internal/page"
	"uvs/internal/peer"
	"uvs/lab"
)

// webAddress is where the page is unless told otherwise.
const webAddress = "127.0.0.1:8480"

// webFlags are the options of `uvs web`.
type webFlags struct {
	socket, listen, tokenFile, lab, node, reports string
	noToken, inherited                            bool
	names                                         []string
}

func webCmd() *cobra.Command {
	var f webFlags
	cmd := &cobra.Command{
		Use:   "web",
		Short: "Show the director on a page for the browser",
		Long: `Serves a page that shows the director of this network namespace, or that of a lab, until
Ctrl-C: the map with live rates, packets step by step, what schedulers do, connections,
what is wrong, checks and events, and benchmark reports. It changes nothing.

It listens on a loopback address, and wants a token, which is part of the address that it
prints. Open that address in a browser. From another machine, use a tunnel:

  ssh -L 8480:127.0.0.1:8480 director
  uvs web --lab nat --reports results/`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return f.run(ctx, cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.socket, "socket", peer.Socket(), "control socket of the director")
	fl.StringVar(&f.listen, "listen", webAddress, "TCP `ADDRESS` and port; port 0 is any that is free")
	fl.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the token; it is made if it is missing (default: a new token each time)")
	fl.BoolVar(&f.noToken, "no-token", false, "answer to everybody who reaches the address")
	fl.StringSliceVar(&f.names, "name", nil, "a `HOST` name by which browsers may call this server, besides localhost")
	fl.StringVar(&f.lab, "lab", "", "show the director of the lab `NAME`, and its nodes")
	fl.StringVar(&f.node, "node", "", "`NODE` of the lab whose director is shown (default: the first)")
	fl.StringVar(&f.reports, "reports", "", "`DIR` with reports of uvs bench (--json)")
	fl.BoolVar(&f.inherited, "inherited", false, "listen on the standard input")
	_ = fl.MarkHidden("inherited") // for the process in a lab
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	return cmd
}

func (f *webFlags) run(ctx context.Context, out io.Writer) error {
	l, err := f.open()
	if err != nil {
		return err
	}
	defer l.Close()
	if f.lab != "" && !f.inherited {
		return f.runInLab(l)
	}
	token := ""
	if !f.noToken {
		if token, err = webToken(f.tokenFile); err != nil {
			return err
		}
	}
	c := page.Config{Director: client.New(f.socket), Token: token, Hosts: f.names, Sources: map[string]page.Source{}}
	if err := f.addSources(&c); err != nil {
		return err
	}
	fmt.Fprintln(out, webURL(l.Addr(), token))
	if exposed(l.Addr()) {
		fmt.Fprintln(os.Stderr, "uvs: everybody who reaches this address can read what is sent, and the token with it: it is plain HTTP")
	}
	return page.New(c).Serve(ctx, l)
}

func (f *webFlags) open() (net.Listener, error) {
	if f.inherited {
		return net.FileListener(os.Stdin)
	}
	return listenWeb("--listen", f.listen)
}

// listenWeb opens the listener that a flag asks for.
func listenWeb(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: somebody listens there already; choose another port, or 0 for any: %w", flag, address, unix.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: an address and a port, such as %s: %w", flag, address, webAddress, err)
	}
	return l, nil
}

// runInLab runs this command on the director's node of a lab, where its control socket is,
// with the listener of this network namespace.
func (f *webFlags) runInLab(l net.Listener) error {
	running, err := lab.Attach(f.lab)
	if err != nil {
		return err
	}
	if f.node == "" {
		f.node = directorOf(&running.Topology)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer file.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{program, "web", "--inherited", "--lab", running.Name, "--name", strings.Join(f.names, ","), "--token-file", f.tokenFile, "--reports", f.reports, fmt.Sprintf("--no-token=%t", f.noToken)}
	l.Close()
	c := running.Command(f.node, args...)
	c.Stdin = file
	return exitWith(lab.Foreground(c))
}

// directorOf returns the first director's node.
func directorOf(t *lab.Topology) string {
	for i := range t.Nodes {
		if t.Nodes[i].Role == lab.Director {
			return t.Nodes[i].Name
		}
	}
	return ""
}

// exposed reports whether others than this host reach an address.
func exposed(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && !t.IP.IsLoopback()
}

// webURL is the address to open. The token is in the fragment, which browsers do not send.
func webURL(a net.Addr, token string) string {
	host := a.String()
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		host = fmt.Sprintf("localhost:%d", t.Port)
	}
	if token == "" {
		return "http://" + host + "/"
	}
	return "http://" + host + "/#token=" + token
}

// webToken returns a new token or, if there is a file, the one in it, which only its owner
// may read.
func webToken(file string) (string, error) {
	if file == "" {
		return rand.Text(), nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		token := rand.Text()
		return token, os.WriteFile(file, []byte(token+"\n"), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 16 || strings.ContainsFunc(token, notInToken) {
		return "", fmt.Errorf("token file %s: a token is 16 or more letters, digits, - and _", file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("token file %s: others may read it; chmod 600 %s", file, file)
	}
	return token, nil
}

func notInToken(r rune) bool {
	return !(r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

// serveWeb serves the page of the director in this process, if --web asks for it, until the
// context ends. A director that takes another's place waits until that has left the port.
func (o *directorFlags) serveWeb(ctx context.Context, log *slog.Logger) error {
	if o.web == "" {
		return nil
	}
	token, err := webToken(o.webToken)
	if err != nil {
		return fmt.Errorf("--web-token-file: %w", err)
	}
	l, err := listenWeb("--web", o.web)
	if err != nil && !(o.Replace && errors.Is(err, unix.EADDRINUSE)) {
		return err
	}
	go func() {
		for ; l == nil && ctx.Err() == nil; time.Sleep(webRetry) {
			l, _ = listenWeb("--web", o.web)
		}
		if l == nil {
			return
		}
		shown := token
		if o.webToken != "" {
			shown = "" // who may know it can read the file
		}
		log.Info("the page is served", "url", webURL(l.Addr(), shown))
		if err := page.New(page.Config{Director: client.New(o.Socket), Token: token, Log: log}).Serve(ctx, l); err != nil {
			log.Error("the page is served no longer", "error", err)
		}
	}()
	return nil
}

// webRetry is how often a director looks whether the one that it replaces has left the port.
const webRetry = 200 * time.Millisecond
