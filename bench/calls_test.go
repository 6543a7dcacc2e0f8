package bench

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"uvs/bench/load"
)

// TestTheTesterHasEveryMethodThatIsCalled reads the names of calls, which are strings,
// from the sources.
func TestTheTesterHasEveryMethodThatIsCalled(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls, tester := regexp.MustCompile(`"Tester\.(\w+)"`), reflect.TypeFor[*load.Tester]()
	found := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range calls.FindAllSubmatch(text, -1) {
			found++
			if _, ok := tester.MethodByName(string(m[1])); !ok {
				t.Errorf("%s calls %s, which the tester does not have", name, m[0])
			}
		}
	}
	if found == 0 {
		t.Error("no call was found")
	}
}
