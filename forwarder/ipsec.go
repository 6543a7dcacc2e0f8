package forwarder

import "uvs/forwarder/frame"

func isIPsec(proto uint8) bool { return proto == frame.ProtoESP || proto == frame.ProtoAH }

// keyExchange returns the flow of the key exchange that AH or ESP comes from.
func keyExchange(f *frame.Flow) frame.Flow {
	k := *f
	k.SetProto(frame.ProtoUDP)
	k.SetPorts(frame.PortISAKMP, frame.PortISAKMP)
	return k
}
