package recording

import (
	"encoding/json"
	"testing"
)

func TestAnEventThatIsNoneIsRefused(t *testing.T) {
	for _, event := range []string{
		`[]`, `[7]`, `["ack", 1]`, `["ipvs"]`, `["ipvs", 7]`, `["syn"]`, `["syn", 1]`, `["est", 1]`,
		`["udp", "172.16.0.1", 1024, "10.2.0.1"]`,
		`["udp", "172.16.0.1", 1024, "10.2.0", 53]`,
		`["udp", "172.16.0.1", 1024, "10.2.0.1", 65536]`,
		`["syn", 1, 1024, "172.16.0.1", "10.2.0.1", 80]`,
	} {
		var e []any
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		if result, err := new(testbed).event(e, map[any]*connection{}); err == nil {
			t.Errorf("%s has the result %v", event, result)
		}
	}
}
