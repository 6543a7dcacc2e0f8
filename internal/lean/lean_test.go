package lean

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// anonymous returns how much memory of its own the process has, in kB (proc_pid_status(5)).
func anonymous(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Skip("this kernel does not say how much memory is anonymous")
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// The test gives the memory back in a process of its own: another test may decode packets.
func TestAProcessWithoutPacketsGivesTheirTablesBack(t *testing.T) {
	const alone = "UVS_TEST_LEAN"
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	pppoe := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x64, 0x11, 0, 0, 1, 0, 4, 0, 0x21, 0x45, 0}
	before := anonymous(t)
	NoPPP()
	if p := gopacket.NewPacket(pppoe, layers.LayerTypeEthernet, gopacket.Default); p.ErrorLayer() == nil || p.Layer(layers.LayerTypePPP) == nil {
		t.Errorf("a PPP frame is decoded as %v", p)
	}
	NoPackets()
	if after := anonymous(t); after > before-4<<10 {
		t.Errorf("of %d kB %d are left", before, after)
	}
}
