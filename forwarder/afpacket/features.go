package afpacket

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// featureTries bounds SetFeatures: the second try is nearly always right.
const featureTries = 8

// SetFeatures switches offload features of an interface, by the kernel's names
// (ethtool -k), and makes sure that they are as asked. Features the interface
// does not know are left out; one it cannot change is an error.
//
// The library hands the kernel the address of a variable on the stack as a mere
// number, and a stack that grows at that moment leaves it behind: the call then
// succeeds, but changes nothing or reads nothing. So what was asked is read back,
// and asked again where it did not come true.
func SetFeatures(name string, want map[string]bool) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("afpacket: features of %s: %w", name, err)
	}
	defer e.Close()
	for range featureTries {
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
	return fmt.Errorf("afpacket: features of %s: %w", name, err)
}

// different returns what of want the interface knows and has otherwise.
func different(e *ethtool.Ethtool, name string, want map[string]bool) (map[string]bool, error) {
	have, err := readFeatures(e, name)
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

// readFeatures returns the features of an interface. Every interface has some
// that are on, so a result without any is one the kernel wrote elsewhere.
func readFeatures(e *ethtool.Ethtool, name string) (map[string]bool, error) {
	for range featureTries {
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
