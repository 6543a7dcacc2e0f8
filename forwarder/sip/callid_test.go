package sip_test

import (
	"bytes"
	"testing"

	"uvs/forwarder/sip"
)

func FuzzCallID(f *testing.F) {
	f.Add([]byte("OPTIONS sip:a SIP/2.0\r\nCall-ID: a@b\r\n\r\n"))
	f.Add([]byte("O\ni\r\n\t:\r\n x\r"))
	f.Add([]byte("O\r\nCall-ID: @\r\nCall-ID: x\r\n"))
	f.Fuzz(func(t *testing.T, message []byte) {
		id := sip.CallID(message)
		if id != nil && (len(id) == 0 || len(id) > sip.MaxCallID || bytes.ContainsAny(id, " \t\r\n\x00")) {
			t.Errorf("%q has Call-ID %q", message, id)
		}
	})
}
