package lab_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

var class = flag.Int("class", 0, "start as many labs, as root each of another user, and report the time to start and the memory of each")

// memory is what a lab takes, in kB, but for the program's file, which all labs of a machine
// share.
type memory struct {
	table int // files in memory: what the director keeps for the next one
	rings int // of packet sockets: 9 MB for each CPU
	rest  int
}

// beside returns what a lab takes beside its director's table on a machine with two CPUs.
func (m memory) beside() int { return m.rest + 2*m.rings/max(2, runtime.NumCPU()) }

func (m memory) String() string {
	return fmt.Sprintf("%.1f MB, of which rings %.1f MB, and tables of %.1f MB",
		float64(m.rest+m.rings)/1024, float64(m.rings)/1024, float64(m.table)/1024)
}

func memoryOf(t *testing.T, supervisor int) (m memory) {
	t.Helper()
	for _, pid := range descendants(supervisor) {
		f, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
		if err != nil {
			t.Skipf("memory of a lab: %v", err)
		}
		program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		counts := &m.rest
		for lines := bufio.NewScanner(bytes.NewReader(f)); lines.Scan(); {
			words := strings.Fields(lines.Text())
			switch {
			case len(words) > 4 && strings.Contains(words[0], "-"):
				counts = &m.rest
				switch name := strings.Join(words[5:], " "); {
				case strings.HasPrefix(name, "socket:"):
					counts = &m.rings
				case strings.HasSuffix(name, "/conns"), strings.HasSuffix(name, "/counters"), strings.Contains(name, "memfd:"):
					counts = &m.table
				case strings.HasSuffix(name, "/uvs"), name == program:
					counts = new(int)
				}
			case len(words) == 3 && words[0] == "Pss:":
				n, _ := strconv.Atoi(words[1])
				*counts += n
			}
		}
	}
	return m
}

// descendants returns a process and all below it.
func descendants(pid int) (all []int) {
	all = []int{pid}
	dirs, _ := filepath.Glob("/proc/[1-9]*/stat")
	parents := map[int]int{}
	for _, d := range dirs {
		text, err := os.ReadFile(d)
		if err != nil {
			continue // it has ended
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
		if f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(f) > 1 {
			parents[id], _ = strconv.Atoi(f[1])
		}
	}
	for i := 0; i < len(all); i++ {
		for id, parent := range parents {
			if parent == all[i] && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// labMemory is what a lab may take beside its director's tables, in kB.
const labMemory = 60 << 10

func TestALabTakesLittleMemory(t *testing.T) {
	labtest.Available(t)
	s := &student{uid: uint32(os.Getuid()), program: labtest.Program(t), home: t.TempDir()}
	name := fmt.Sprintf("memory%d", os.Getpid())
	for _, topology := range []string{"nat", "tun"} {
		if err := s.start(topology, name); err != nil {
			t.Fatal(err)
		}
		pid := s.inspect(t, name).PID
		m := memoryOf(t, pid)
		// What only the start needed is given back soon after it.
		for deadline := time.Now().Add(patience); m.beside() > labMemory && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			m = memoryOf(t, pid)
		}
		t.Logf("%s: %s", topology, m)
		if m.rest == 0 || m.beside() > labMemory {
			t.Errorf("%s takes %s", topology, m)
		}
		if _, err := s.uvs("lab", "down", name); err != nil {
			t.Fatal(err)
		}
	}
}

// student is a user with a lab.
type student struct {
	uid     uint32
	program string
	home    string
	up      time.Duration
}

func (s *student) uvs(words ...string) ([]byte, error) {
	cmd := exec.Command(s.program, words...)
	cmd.Dir = s.home
	cmd.Env = []string{"HOME=" + s.home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
	if int(s.uid) != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("uvs %s: %w: %s", strings.Join(words, " "), err, errs.Bytes())
	}
	return out, err
}

func (s *student) start(topology, name string) error {
	began := time.Now()
	_, err := s.uvs("lab", "up", topology, "--name", name)
	s.up = time.Since(began)
	return err
}

func (s *student) inspect(t *testing.T, name string) (info lab.Info) {
	t.Helper()
	out, err := s.uvs("lab", "inspect", name, "--json")
	if err == nil {
		err = json.Unmarshal(out, &info)
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A class: labs of many users on one machine, started one after the other and then all at once.
func TestAClass(t *testing.T) {
	if *class == 0 {
		t.Skip("only with -class")
	}
	labtest.Available(t)
	students := enrol(t, *class)
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("load before: %s", bytes.TrimSpace(load))
	free := available(t)
	for i, s := range students {
		if err := s.start([]string{"nat", "dr", "tun", "fullnat"}[i%4], fmt.Sprintf("class%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	tell(t, students, free)
	for i, s := range students {
		if _, err := s.uvs("lab", "check", fmt.Sprintf("class%d", i), "--within", "30s"); err != nil {
			t.Error(err)
		}
		if _, err := s.uvs("lab", "down", fmt.Sprintf("class%d", i)); err != nil {
			t.Error(err)
		}
	}
	began := time.Now()
	var all sync.WaitGroup
	for i, s := range students {
		all.Go(func() {
			if err := s.start("nat", fmt.Sprintf("class%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	t.Logf("%d labs started at once are up after %.2f s", len(students), time.Since(began).Seconds())
}

// enrol makes users, whose labs end with the test.
func enrol(t *testing.T, n int) (all []*student) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "uvs-class") // the tests' own directory is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(labtest.Program(t))
	if err == nil {
		err = os.WriteFile(dir+"/uvs", program, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		uid := os.Getuid()
		if uid == 0 {
			uid = 20001 + i
		}
		s := &student{uid: uint32(uid), program: dir + "/uvs", home: fmt.Sprintf("%s/%d", dir, i)}
		if err := os.Mkdir(s.home, 0o777); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = s.uvs("lab", "down", fmt.Sprintf("class%d", i)) })
		all = append(all, s)
	}
	return all
}

// available is the memory in kB that the machine has left (proc_meminfo(5)).
func available(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); words[0] == "MemAvailable:" {
			n, _ := strconv.Atoi(words[1])
			return n
		}
	}
	return 0
}

// tell says what each lab took, and fails the test if it is too much.
func tell(t *testing.T, students []*student, free int) {
	t.Helper()
	for i, s := range students {
		info := s.inspect(t, fmt.Sprintf("class%d", i))
		m := memoryOf(t, info.PID)
		t.Logf("lab %2d (%-7s) up in %.2f s, %s", i+1, info.Topology.Name, s.up.Seconds(), m)
		if m.beside() > labMemory {
			t.Errorf("lab %d takes %s", i+1, m)
		}
	}
	t.Logf("the machine has %.1f MB less for each lab", float64(free-available(t))/1024/float64(len(students)))
}
