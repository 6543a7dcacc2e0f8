package pcapng

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/pcapgo"
)

var packets = []Packet{
	{Interface: "eth0 in", Time: time.Unix(1700000000, 123456789), Frame: []byte("a frame of 21 bytes.."), Comment: "wlc chose rs2: 641.5 < 1036.0"},
	{Interface: "eth1 out", Time: time.Unix(1700000001, 1), Frame: []byte("another"), Length: 1514, Flags: Outbound | Broadcast},
	{Interface: "eth0 in", Time: time.Unix(1700000002, 0), Frame: nil, Comment: "zwei ≤ drei"},
}

func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, "uvs")
	for i := range packets {
		if err == nil {
			err = w.Write(&packets[i])
		}
	}
	if err == nil {
		err = w.Statistics("eth1 out", time.Unix(1700000003, 0), 100, 7)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	r := NewReader(bytes.NewReader(written(t)))
	for _, want := range packets {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if want.Length == 0 {
			want.Length = len(want.Frame)
		}
		if got.Length != want.Length || got.Flags != want.Flags || got.Interface != want.Interface || !got.Time.Equal(want.Time) || !bytes.Equal(got.Frame, want.Frame) || got.Comment != want.Comment {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestAnotherReaderUnderstandsIt(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(written(t)), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	data, info, err := r.ReadPacketData()
	if err != nil || !info.Timestamp.Equal(packets[0].Time) {
		t.Fatalf("at %v: %v", info.Timestamp, err)
	}
	if diff := cmp.Diff(packets[0].Frame, data); diff != "" {
		t.Error(diff)
	}
	if i, err := r.Interface(0); err != nil || i.Name != "eth0 in" {
		t.Errorf("interface %+v, %v", i, err)
	}
	if _, info, err := r.ReadPacketData(); err != nil || info.Length != 1514 || info.CaptureLength != len(packets[1].Frame) {
		t.Errorf("the beginning of a frame: %+v, %v", info, err)
	}
	for ; err == nil; _, _, err = r.ReadPacketData() {
	}
	if i, err := r.Interface(1); err != nil || i.Statistics.PacketsReceived != 100 || i.Statistics.PacketsDropped != 7 {
		t.Errorf("interface %+v, %v", i, err)
	}
}

// FuzzReader reads anything without a panic.
func FuzzReader(f *testing.F) {
	f.Add(written(f))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
}
