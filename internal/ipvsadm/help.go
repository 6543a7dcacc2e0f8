package ipvsadm

import (
	_ "embed"
	"strings"
)

// version is what -v prints: the version of the tool that this one replaces.
const version = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

// upstreamHelp is the text of ipvsadm 1.31's -h, which documents its grammar.
//
//go:embed help.txt
var upstreamHelp string

// ownHelp follows it.
const ownHelp = `
FULLNAT (uvs only):
  ipvsadm --add-laddr|--del-laddr virtual-service --laddr address
  ipvsadm --get-laddr [virtual-service] [-n]
  --fullnat                           FULLNAT: both addresses translated, with -a and -e
  --add-laddr                         add a local address that clients are translated to
  --del-laddr                         delete a local address
  --get-laddr                         list local addresses
  --laddr         address             local address
`

func (t *Tool) help() error {
	t.out.WriteString(strings.ReplaceAll(upstreamHelp, "\n  ipvsadm ", "\n  "+t.Program+" "))
	t.out.WriteString(ownHelp)
	return &exit{}
}
