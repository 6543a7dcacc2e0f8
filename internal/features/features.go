// Package features tells which features of this kernel a director, a lab and the shim can
// use, and what each that is missing costs. It tries them in a network namespace of its own,
// so nothing of the host changes.
package features

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Feature is something that a kernel has, lets this user have, or lacks.
type Feature struct {
	Name  string `json:"name"` // stable
	Found bool   `json:"found"`
	Use   string `json:"use"`           // what it is for
	Cost  string `json:"cost"`          // what its absence costs
	Why   string `json:"why,omitempty"` // why it was not found
}

// table has all features in the order of their listing. Those with a trial are tried in a
// network namespace of their own, the others where they are looked for.
var table = []struct {
	name, use, cost string
	trial           func() error // by a child that is root in its namespaces
	look            func() error
}{
	{"packet-socket", "receives and sends frames (AF_PACKET)", "no director works here", packetSocket, nil},
	{"packet-ring", "receives frames without a system call for each (TPACKET_V2)", "uvs director --io socket works, several times slower", packetRing, nil},
	{"vnet-header", "keeps checksum and segmentation offloads (PACKET_VNET_HDR)", "checksums and segments are made in software: bulk TCP is five to seven times slower", vnetHeader, nil},
	{"fanout", "spreads flows over workers (PACKET_FANOUT)", "one worker serves all interfaces: one CPU's worth of packets", fanout, nil},
	{"ignore-outgoing", "does not receive what the director sends (PACKET_IGNORE_OUTGOING, Linux 4.20)", "the director sees each frame that it sends, and leaves it out", ignoreOutgoing, nil},
	{"nftables-guard", "keeps the host's stack away from what is served (nf_tables_netdev, nft_fib_netdev, tables with an owner, Linux 5.12)", "a virtual address on an interface of the host gets its clients reset by the host, and with ip_forward=1 replies leave untranslated", nftGuard, nil},
	{"nftables-host", "serves clients and translated servers on the director itself (nft_fwd_netdev, egress hook, Linux 5.16)", "clients and NAT servers on the director itself are not served", nftHost, nil},
	{"veth", "connects the nodes of a lab", "uvs lab and uvs bench do not work", veth, nil},
	{"user-namespaces", "makes labs without root", "uvs lab, uvs bench and the tests need root", nil, userNamespaces},
	{"tun", "makes TUN and TAP devices (/dev/net/tun)", "uvs director --io tap:NAME does not work", nil, tun},
	{"seccomp-notify", "answers for the kernel's IPVS to other programs (seccomp user notification, Linux 5.0)", "uvs shim does not work: keepalived and the real ipvsadm cannot drive a director", nil, seccompNotify},
}

// Child is the argument after which the program is to call Try.
const Child = "--try-features"

// Find returns all features. It starts this program again, with the arguments given and Child,
// in namespaces of its own.
func Find(arguments ...string) []Feature {
	tried, childErr := runChild(append(arguments, Child))
	var all []Feature
	for _, f := range table {
		found := Feature{Name: f.name, Use: f.use, Cost: f.cost}
		switch {
		case f.look != nil:
			found.Why = why(f.look())
		case childErr != nil:
			found.Why = "it could not be tried: " + childErr.Error()
		default:
			found.Why = tried[f.name]
		}
		found.Found = found.Why == ""
		all = append(all, found)
	}
	return all
}

// Try tries the features that have a trial, and returns why each was not found, or "".
func Try() map[string]string {
	reasons := map[string]string{}
	for _, f := range table {
		if f.trial != nil {
			reasons[f.name] = why(f.trial())
		}
	}
	return reasons
}

func why(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// runChild runs Try in a child that is root in a network namespace of its own.
func runChild(arguments []string) (reasons map[string]string, err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"uvs"}, arguments...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a namespace to try it in: %w", err), errors.New(strings.TrimSpace(said.String())))
	}
	return reasons, json.Unmarshal(out, &reasons)
}

// userNamespaces looks where kernels and distributions forbid them.
func userNamespaces() error {
	for _, file := range []struct{ path, forbidden string }{
		{"/proc/sys/user/max_user_namespaces", "0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"},
	} {
		text, err := os.ReadFile(file.path)
		if err == nil && strings.TrimSpace(string(text)) == file.forbidden {
			return fmt.Errorf("%s is %s", file.path, file.forbidden)
		}
	}
	if _, err := os.Stat("/proc/self/ns/user"); err != nil {
		return err
	}
	return nil
}

func tun() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func seccompNotify() error {
	const path = "/proc/sys/kernel/seccomp/actions_avail"
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("this kernel has no seccomp filters")
	}
	if err == nil && !strings.Contains(string(text), "user_notif") {
		return fmt.Errorf("user_notif is not in %s", path)
	}
	return err
}
