package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// A real FTP server and client use NAT: the server names its own address in reply to PASV,
// and the client its own in PORT. Both must be translated.
func TestFTPThroughNAT(t *testing.T) {
	server, err := exec.LookPath("vsftpd")
	if err != nil {
		labtest.Skip(t, "no vsftpd here (Debian: vsftpd)")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		labtest.Skip(t, "no curl here")
	}
	for _, v := range []struct {
		name     string
		topology string
		options  lab.Options
		service  string
		proxied  bool
	}{
		{"the address is the host's", "nat", lab.Options{}, "-s rr", false},
		{"the address is the director's", "nat", lab.Options{VIPElsewhere: true}, "-s rr", false},
		{"persistent", "nat", lab.Options{}, "-s rr -p 60", false},
		{"offloads off", "nat", lab.Options{NoOffload: true}, "-s rr", false},
		{"through a SYN proxy", "nat", lab.Options{}, "-s rr", true},
		{"IPv6, the address is the host's", "nat6", lab.Options{}, "-s rr", false},
		{"IPv6, the address is the director's", "nat6", lab.Options{VIPElsewhere: true}, "-s rr", false},
	} {
		t.Run(v.name, func(t *testing.T) {
			topology := labtest.Build(t, v.topology, v.options)
			topology.Node("director").Setup = nil
			for _, rs := range topology.RealServers() {
				rs.Services = append(rs.Services, ftpServer(t, server, rs))
			}
			l := labtest.Start(t, topology)
			vip := netip.AddrPortFrom(topology.VIP, 21).String()
			labtest.Exec(t, l, "director", strings.Fields("ipvsadm -A -t "+vip+" "+v.service)...)
			for _, rs := range l.Topology.RealServers() {
				labtest.Exec(t, l, "director", "ipvsadm", "-a", "-t", vip, "-r", netip.AddrPortFrom(rs.Address(), 21).String(), "-m")
			}
			if v.proxied {
				labtest.Exec(t, l, "director", "uvs", "synproxy", "-t", vip, "on")
			}
			for _, c := range []struct{ mode, words string }{
				{"PASV", "--disable-epsv --no-ftp-skip-pasv-ip"},
				{"EPSV", ""},
				{"PORT", "-P - --disable-eprt"},
				{"EPRT", "-P -"},
			} {
				if topology.VIP.Is6() && !strings.HasPrefix(c.mode, "E") {
					continue // these cannot name an IPv6 address
				}
				t.Run(c.mode, func(t *testing.T) { fetchByFTP(t, l, "ftp://"+vip+"/", strings.Fields(c.words)) })
			}
			if t.Failed() {
				out, _ := l.Exec("director", "ipvsadm", "-Lcn")
				t.Logf("%s", out)
				report(t, l)
			}
		})
	}
}

// fetchByFTP fetches two files over one control connection, each over a data
// connection of its own, and then one that does not exist.
func fetchByFTP(t *testing.T, l *lab.Lab, site string, words []string) {
	t.Helper()
	curl := append([]string{"curl", "-gsS", "--max-time", "20"}, words...)
	seen := map[string]bool{}
	for range 2 {
		out, err := l.Exec("client", append(curl, site+"name", site+"large", site+"name")...)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(out, "\n")
		if want := name + "\n" + largeFile() + name + "\n"; out != want {
			t.Fatalf("%d bytes came, want %d: the files of one server", len(out), len(want))
		}
		seen[name] = true
	}
	t.Logf("answers from %v", seen)
	if out, err := l.Exec("client", append(curl, site+"nothing")...); err == nil || !strings.Contains(err.Error(), "550") && !strings.Contains(err.Error(), "78") {
		t.Errorf("a file that is not there gave %q, %v", out, err)
	}
}

func largeFile() string { return strings.Repeat("0123456789abcde\n", 1<<16) }

// ftpServer is vsftpd with files of its own, as an ordinary process of the node.
func ftpServer(t *testing.T, program string, rs *lab.Node) lab.Service {
	name, six := rs.Name, "NO"
	if rs.Address().Is6() {
		six = "YES" // then it listens for IPv4 as well
	}
	dir := t.TempDir()
	root, conf := filepath.Join(dir, "root"), filepath.Join(dir, "vsftpd.conf")
	text := fmt.Sprintf(`
listen=%s
listen_ipv6=%s
background=NO
anonymous_enable=YES
no_anon_password=YES
run_as_launching_user=YES
connect_from_port_20=YES
seccomp_sandbox=NO
anon_root=%s
`, map[string]string{"NO": "YES", "YES": "NO"}[six], six, root)
	for _, err := range []error{
		os.Mkdir(root, 0o755),
		os.WriteFile(filepath.Join(root, "name"), []byte(name+"\n"), 0o644),
		os.WriteFile(filepath.Join(root, "large"), []byte(largeFile()), 0o644),
		os.WriteFile(conf, []byte(strings.TrimPrefix(text, "\n")), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return lab.Service{Name: "ftp", Ready: "tcp:21", Command: lab.Command{program, conf}}
}
