package lab

import "testing"

func TestAFaultHasNoMoreHintsThanThereAre(t *testing.T) {
	l := faultLog{}
	l.note(&Inserted{Name: "old"})
	l.note(&Inserted{Name: "new"})
	for i := range Hints + 2 {
		if f := l.hint(); f[0].Name != "new" || f[0].Hints != min(i+1, Hints) {
			t.Errorf("hint %d: %+v", i+1, f[0])
		}
	}
	if all := l.note(nil); all[0].Hints != Hints || all[1].Hints != 0 {
		t.Errorf("counted: %+v", all)
	}
}
