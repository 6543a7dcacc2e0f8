package ftp_test

import (
	"fmt"
	"testing"

	"uvs/forwarder/ftp"
)

func TestFTPLines(t *testing.T) {
	for _, c := range []struct{ line, want, because string }{
		{"227 Entering Passive Mode (10,1,0,1,200,10).\r\n", "10.1.0.1:51210 10,1,0,1,200,10", "RFC 959"},
		{"227 ok (10,1,0,1,0,0)\r\n", "", "port 0 is none"},
		{"227 ok (10,1,0,1,256,1)\r\n", "", "256 is no byte"},
		{"227 ok (10,1,0,1,200)\r\n", "", "a number is missing"},
		{"227 ok (10,1,0,1,200,10", "", "the line goes on in another segment"},
		{"227 )(\r\n", "", "there is no number"},
		{"227 ok 10,1,0,1,200,10.\r\n", "10.1.0.1:51210 10,1,0,1,200,10", "RFC 1123 knows servers without brackets"},
		{"200 ok\r\n227 ok (10,1,0,1,200,10)\r\n", "10.1.0.1:51210 10,1,0,1,200,10", "other answers may come before"},
		{"227-look (10,1,0,1,9,9)\r\n227 ok (10,1,0,1,200,10)\r\n", "10.1.0.1:51210 10,1,0,1,200,10", "the last of several lines counts"},
		{"229 )(\r\n", "", "the brackets are turned about"},
		{"229 ok\r\n(|||51210|)\r\n", "", "the brackets are another line's"},
		{"PORT  172,16,0,9,190,5\n", "172.16.0.9:48645 172,16,0,9,190,5", "IPVS takes more blanks and less at the end"},
		{"229 ok (|||51210|)\r\n", "invalid AddrPort|51210 |||51210|", "RFC 2428, which names the port alone"},
		{"229 ok (!!!51210!)\r\n", "invalid AddrPort|51210 !!!51210!", "any character may be the bar"},
		{"229 ok (|||99999|)\r\n", "", "no such port"},
		{"PORT 172,16,0,9,190,5\r\n", "172.16.0.9:48645 172,16,0,9,190,5", "RFC 959"},
		{"port 172,16,0,9,190,5\r\n", "172.16.0.9:48645 172,16,0,9,190,5", "case does not count"},
		{"EPRT |2|fd00:c::9|48645|\r\n", "[fd00:c::9]:48645 |2|fd00:c::9|48645|", "RFC 2428"},
		{"EPRT |1||48645|\r\n", "", "the address is missing"},
		{"220 hello\r\n", "", "another line"},
		{"", "", "nothing"},
	} {
		e, ok := ftp.Answer([]byte(c.line), ftp.PASV)
		if !ok {
			e, ok = ftp.Answer([]byte(c.line), ftp.EPSV)
		}
		if !ok {
			e, ok = ftp.Command([]byte(c.line))
		}
		got := ""
		if ok {
			name := e.AddrPort.String()
			if !e.Addr().IsValid() {
				name = fmt.Sprintf("invalid AddrPort|%d", e.Port())
			}
			got = name + " " + c.line[e.At:e.At+e.Len]
		}
		if got != c.want {
			t.Errorf("%q gives %q, want %q: %s", c.line, got, c.want, c.because)
		}
	}
}

func FuzzFTPLines(f *testing.F) {
	f.Add([]byte("227 Entering Passive Mode (10,1,0,1,200,10).\r\n"))
	f.Add([]byte("229 ok (|||51210|)\r\n"))
	f.Add([]byte("EPRT |2|fd00:c::9|48645|\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, read := range []func([]byte) (ftp.End, bool){
			func(b []byte) (ftp.End, bool) { return ftp.Answer(b, ftp.PASV) },
			func(b []byte) (ftp.End, bool) { return ftp.Answer(b, ftp.EPSV) },
			ftp.Command,
		} {
			if e, ok := read(line); ok && (e.At < 0 || e.Len < 0 || e.At+e.Len > len(line) || e.Port() == 0) {
				t.Errorf("%q gives %+v", line, e)
			}
		}
	})
}
