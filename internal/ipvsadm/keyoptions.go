package ipvsadm

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"uvs/forwarder/config"
)

// KeyOptions are the options that name a service, as ipvsadm has them, for commands of
// uvs's own.
type KeyOptions struct {
	tcp, udp, sctp, mark string
	ipv6                 bool
}

// AddTo adds the options to f; parsing them fills o.
func (o *KeyOptions) AddTo(f *pflag.FlagSet) {
	f.StringVarP(&o.tcp, "tcp-service", "t", "", "the TCP service `ADDRESS:PORT`")
	f.StringVarP(&o.udp, "udp-service", "u", "", "the UDP service `ADDRESS:PORT`")
	f.StringVar(&o.sctp, "sctp-service", "", "the SCTP service `ADDRESS:PORT`")
	f.StringVarP(&o.mark, "fwmark-service", "f", "", "the service of firewall `MARK`")
	f.BoolVarP(&o.ipv6, "ipv6", "6", false, "the service of the mark is IPv6's")
}

// Key returns the service that is named, as ipvsadm reads it; the zero Key if none is.
func (o *KeyOptions) Key(names Names) (config.Key, error) {
	var option, value string
	for _, n := range [][2]string{{"-t", o.tcp}, {"-u", o.udp}, {"--sctp-service", o.sctp}, {"-f", o.mark}} {
		switch {
		case n[1] == "":
		case option != "":
			return config.Key{}, errors.New("one service at a time")
		default:
			option, value = n[0], n[1]
		}
	}
	if option == "" {
		return config.Key{}, nil
	}
	k, err := ParseKey(option, value, o.ipv6, names)
	if err != nil && o.ipv6 {
		value += " -6"
	}
	if err != nil {
		return k, fmt.Errorf("%s %s: %w", option, value, err)
	}
	return k, nil
}
