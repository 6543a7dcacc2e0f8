package ipvsnl

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
)

// recordedID is the family's number in the kernel of testdata/family.hex.
const recordedID = 0x20

// seek returns a message to the controller from port 0x78, with the sequence number 0x63.
func seek(flags uint16, attrs ...attr) Message {
	ask := appendMessage(nil, make([]byte, 16), unix.GENL_ID_CTRL, flags|unix.NLM_F_REQUEST,
		append([]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, encode(attrs...)...))
	native.PutUint32(ask[8:], 0x63)
	native.PutUint32(ask[12:], 0x78)
	return ask
}

func TestTheFamilyIntroducesItselfAsInTheKernel(t *testing.T) {
	want, err := os.ReadFile("testdata/family.hex")
	if err != nil {
		t.Fatal(err)
	}
	f := &Family{ID: recordedID, Director: startDirector(t)}
	for name, m := range map[string]Message{
		"by name":   seek(0, text(unix.CTRL_ATTR_FAMILY_NAME, Name)),
		"by number": seek(0, u16(unix.CTRL_ATTR_FAMILY_ID, recordedID)),
	} {
		if !f.Seeks(m) {
			t.Errorf("%s: the family is not meant", name)
		}
		got := f.Introduce(context.Background(), m)
		if diff := cmp.Diff(legible([]string{strings.TrimSpace(string(want))}), legible([]string{hex.EncodeToString(got[0])})); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestOtherFamiliesAreNotMeant(t *testing.T) {
	f := &Family{ID: recordedID}
	for name, m := range map[string]Message{
		"another name":   seek(0, text(unix.CTRL_ATTR_FAMILY_NAME, "nl80211")),
		"another number": seek(0, u16(unix.CTRL_ATTR_FAMILY_ID, unix.GENL_ID_CTRL)),
		"all of them":    seek(unix.NLM_F_DUMP),
		"none":           seek(0),
	} {
		if f.Seeks(m) {
			t.Errorf("%s: the family is meant", name)
		}
	}
}

func TestWithoutADirectorThereIsNoFamily(t *testing.T) {
	f := &Family{ID: recordedID, Director: client.New(filepath.Join(t.TempDir(), "nobody"))}
	for name, got := range map[string][][]byte{
		"sought":        f.Introduce(context.Background(), seek(0, text(unix.CTRL_ATTR_FAMILY_NAME, Name))),
		"asked":         f.Answer(context.Background(), ask{cmd: getInfo}.message(1)),
		"asked to list": f.Answer(context.Background(), dump(getService).message(1)),
		"changed":       f.Answer(context.Background(), added.message(1)),
	} {
		if len(got) != 1 || Message(got[0]).Type() != unix.NLMSG_ERROR || int32(native.Uint32(got[0][16:])) != -int32(unix.ENOENT) {
			t.Errorf("%s: %x, want ENOENT", name, got)
		}
	}
}
