package learn_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"uvs/internal/lang"
	"uvs/lab"
	"uvs/lab/learn"
)

// What is wrong is said as it is: what was seen, and what was wanted.
func TestAWrongLineIsAnsweredByWhatWasSeenAndWanted(t *testing.T) {
	for _, tag := range lang.Tags {
		t.Run(string(tag), func(t *testing.T) {
			t.Parallel()
			words := map[lang.Tag][]string{
				lang.EN: {"not yet: the director has no service; wanted: a service -t 172.16.253.63:80",
					"172.16.253.63:80 has the scheduler wlc; wanted: -s rr",
					"192.168.166.129:80 is not a real server of 172.16.253.63:80, which has: 192.168.166.132:80; wanted: 192.168.166.129:80 with -m",
					"192.168.166.132:80 is a real server of 172.16.253.63:80, too",
					"192.168.166.131:80 has the forwarding method Route (-g)", "wanted: Masq (-m)", "1 of 7 steps are done"},
				lang.ZH: {"还没完成：调度器上还没有虚拟服务；要求：虚拟服务 -t 172.16.253.63:80",
					"172.16.253.63:80 的调度算法是 wlc", "192.168.166.129:80 不是 172.16.253.63:80 的真实服务器，现有：192.168.166.132:80",
					"172.16.253.63:80 还多了真实服务器 192.168.166.132:80", "192.168.166.131:80 的转发模式是 Route（-g）", "要求：Masq（-m）", "已完成 1 步"},
			}[tag]
			out := take(t, &learn.Session{Lesson: lesson(t, "nat"), Lang: tag, LabName: "wrong-" + string(tag)},
				"ipvsadm -A -t 172.16.253.63 -s rr",
				"ipvsadm -A -t 172.16.253.63:80",
				"ipvsadm -E -t 172.16.253.63:80 -s rr",
				"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.132 -m",
				"ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -m",
				"director ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131",
				"check", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.131 -m", "hint", "quit")
			for _, want := range words {
				if !strings.Contains(unbroken(out), unbroken(want)) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// unbroken returns a text without the places where a line may have been broken.
func unbroken(text string) string { return strings.NewReplacer("\n", "", " ", "").Replace(text) }

// A lesson that was left goes on, in a new lab, where the student was; and so it does when the
// lab is lost meanwhile.
func TestALessonIsContinuedInANewLab(t *testing.T) {
	t.Parallel()
	store := &learn.Store{Dir: t.TempDir()}
	result := filepath.Join(t.TempDir(), "result.json")
	session := func() *learn.Session {
		return &learn.Session{Lesson: lesson(t, "nat"), Lang: lang.EN, LabName: "continued", Store: store, Result: result,
			Author: learn.Author{Student: "Li Lei", User: "u", Host: "h", UVS: "1"}}
	}
	out := take(t, session(), "director# ipvsadm -A -t 172.16.253.63:80 -s rr", "quit")
	if !strings.Contains(out, "1 of 7 steps are done") {
		t.Fatalf("the first step was not done:\n%s", out)
	}
	out = take(t, session(), "ipvsadm -Ln", "show", "skip", "client", "check", "quit")
	for _, want := range []string{"You continue at step 2", "TCP  172.16.253.63:80 rr", "-r 192.168.166.131 -m", "Step 3 of 7"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	s := session()
	out = takeWhile(t, s, func(n int) string {
		l, err := lab.Attach("continued")
		if n > 0 || err != nil {
			return "quit"
		}
		twice := session()
		twice.In, twice.Out = &script{}, io.Discard
		if err := twice.Learn(t.Context()); err == nil || !strings.Contains(err.Error(), "open in another terminal") {
			t.Errorf("the same lesson twice at a time: %v", err)
		}
		l.Close()
		return "sysctl -w net.ipv4.ip_forward=1"
	})
	if !strings.Contains(out, "The lab has ended") || !strings.Contains(out, "Step 4 of 7") || !strings.Contains(out, "3 of 7 steps") {
		t.Errorf("the lost lab:\n%s", out)
	}
	status, err := store.StatusOf(s.Lesson)
	if err != nil || status.Done != 3 || status.Steps[0].By != learn.Student || status.Steps[1].By != learn.Skipped || status.Steps[3].Done {
		t.Errorf("status %+v, %v", status, err)
	}
	all := learn.Verify([]string{result}, false)
	if all[0].Done != 3 || all[0].Helped != 1 || len(all[0].Faults) != 1 || all[0].Faults[0].EN != "not finished" {
		t.Errorf("the result: %+v", all)
	}
}

// What a student has done stays his when the engine types the answers, and the result of the
// engine says that it was the engine.
func TestTheEngineDoesNotTakeTheStudentsSteps(t *testing.T) {
	t.Parallel()
	store := &learn.Store{Dir: t.TempDir()}
	result := filepath.Join(t.TempDir(), "result.json")
	s := &learn.Session{Lesson: lesson(t, "nat"), Lang: lang.EN, LabName: "both", Store: store, Result: result}
	take(t, s, "ipvsadm -A -t 172.16.253.63:80 -s rr", "quit")
	s.In, s.Result = nil, result+"-of-the-engine" // the student's is another run's
	if err := s.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, err := store.StatusOf(s.Lesson)
	if err != nil || status.Done != 7 || status.Steps[0].By != learn.Student || status.Steps[1].By != learn.Engine {
		t.Errorf("status %+v, %v", status, err)
	}
	var r learn.Result
	data, _ := os.ReadFile(s.Result)
	if err := json.Unmarshal(data, &r); err != nil || slices.ContainsFunc(r.Steps, func(d learn.Done) bool { return d.By != learn.Engine }) {
		t.Errorf("%v, %s", err, data)
	}
}

// A result that cannot be written is an error before anything is typed; progress that cannot be
// kept is said, and the lesson goes on.
func TestWhatCannotBeWrittenIsSaidInTime(t *testing.T) {
	t.Parallel()
	s := &learn.Session{Lesson: lesson(t, "fullnat"), Lang: lang.EN, Out: io.Discard, LabName: "unwritten", Result: filepath.Join(t.TempDir(), "no", "result")}
	if err := s.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("the result: %v", err)
	}
	s.Result, s.Store = "", &learn.Store{Dir: "/proc/nowhere"}
	out := take(t, s, "ipvsadm -A -t 172.16.253.63:80 -s rr", "quit")
	if !strings.Contains(out, "What is done cannot be kept") || !strings.Contains(out, "1 of 5 steps") || strings.Contains(out, "continues here") {
		t.Errorf("the progress:\n%s", out)
	}
}
