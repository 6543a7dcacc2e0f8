// Package ethtool reads and sets the offload features of network interfaces, by the
// kernel's names for them (ethtool -k, net/ethtool/common.c). Interfaces are those
// of the calling thread's network namespace.
//
// The library underneath hands the kernel the address of a variable on the stack as
// a mere number. If the stack grows at that moment, the variable moves: the call
// succeeds but changes nothing, or reads nothing. So a result without any feature
// that is on is read again, and a change is read back and repeated if it did not
// take effect.
//
// Functions may be called from any goroutine.
package ethtool

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// tries bounds how often a call is repeated: the second is nearly always right.
const tries = 8

// Features returns the features of an interface and whether each is on.
func Features(name string) (map[string]bool, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return nil, fmt.Errorf("ethtool: features of %s: %w", name, err)
	}
	defer e.Close()
	all, err := read(e, name)
	if err != nil {
		return nil, fmt.Errorf("ethtool: features of %s: %w", name, err)
	}
	return all, nil
}

// Driver returns the name of an interface's driver, such as veth.
func Driver(name string) (string, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return "", fmt.Errorf("ethtool: driver of %s: %w", name, err)
	}
	defer e.Close()
	driver, err := e.DriverName(name)
	if err != nil {
		return "", fmt.Errorf("ethtool: driver of %s: %w", name, err)
	}
	return driver, nil
}

// SetFeatures switches features of an interface on or off and makes sure that they
// are as wanted. Features that the interface does not know are ignored; one that it
// cannot change is an error.
func SetFeatures(name string, want map[string]bool) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("ethtool: features of %s: %w", name, err)
	}
	defer e.Close()
	for range tries {
		differ, readErr := different(e, name, want)
		if readErr == nil && len(differ) == 0 {
			return nil
		}
		if err = readErr; err == nil {
			err = e.Change(name, differ)
		}
	}
	if err == nil {
		err = fmt.Errorf("%v stay as they are", want)
	}
	return fmt.Errorf("ethtool: features of %s: %w", name, err)
}

// different returns the features of want that the interface knows and has in the
// other state.
func different(e *ethtool.Ethtool, name string, want map[string]bool) (map[string]bool, error) {
	have, err := read(e, name)
	if err != nil {
		return nil, err
	}
	differ := map[string]bool{}
	for feature, on := range want {
		if now, ok := have[feature]; ok && now != on {
			differ[feature] = on
		}
	}
	return differ, nil
}

// read returns the features of an interface. Every interface has some that are on.
func read(e *ethtool.Ethtool, name string) (map[string]bool, error) {
	for range tries {
		all, err := e.Features(name)
		if err != nil {
			return nil, err
		}
		for _, on := range all {
			if on {
				return all, nil
			}
		}
	}
	return nil, fmt.Errorf("the kernel lists no feature that is on")
}
