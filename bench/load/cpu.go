package load

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the CPU time, user and system, that all threads of a process
// have used, from its CPU clock (clock_getcpuclockid(3)): nanoseconds, where
// /proc counts in hundredths of a second.
func processTime(pid int) (time.Duration, error) { return cpuClock(pid, 2) }

// threadTime is the same for one thread of this process.
func threadTime(tid int) (time.Duration, error) { return cpuClock(tid, 6) }

// cpuClock reads the clock of a process or thread. Its number is made of the
// complement of the identifier and of what to count (linux/posix-timers.h):
// 2 is CPUCLOCK_SCHED, with 4 added for a thread.
func cpuClock(id, which int) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^id<<3|which), &ts); err != nil {
		return 0, fmt.Errorf("bench: CPU clock of %d: %w", id, err)
	}
	return time.Duration(ts.Nano()), nil
}

// schedstats are, for each thread of a process, how long it ran and how long it
// could have run but waited for a CPU, in nanoseconds.
type schedstats map[string][2]int64

// threadSchedstats reads /proc/PID/task/TID/schedstat. It is empty where the kernel
// does not tell.
func threadSchedstats(pid int) schedstats {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	all := schedstats{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var ran, waited int64
		if n, _ := fmt.Sscan(string(b), &ran, &waited); n == 2 {
			all[f] = [2]int64{ran, waited}
		}
	}
	return all
}

// waited is how long the thread that ran most since an earlier look waited:
// others of the process wait for that one.
func (t schedstats) waited(since schedstats) time.Duration {
	var most, wait int64
	for id, now := range t {
		if ran := now[0] - since[id][0]; ran > most {
			most, wait = ran, now[1]-since[id][1]
		}
	}
	return time.Duration(wait)
}

// cpuStats is what all CPUs did, from /proc/stat.
type cpuStats struct {
	busy, stolen, all time.Duration
}

// machineCPU returns the time that all CPUs of the machine together were busy,
// were taken by the hypervisor, and have existed.
func machineCPU() cpuStats {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	var m cpuStats
	for i, w := range strings.Fields(line) {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil || i > 8 {
			continue // the word "cpu"; guests, which are in user already
		}
		d := time.Duration(n) * time.Second / 100 // USER_HZ
		m.all += d
		switch i {
		case 4, 5: // idle, waiting for a disk
		case 8:
			m.stolen += d
		default:
			m.busy += d
		}
	}
	return m
}

// AllowedCPUs are those this process may use, in order.
func AllowedCPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return []int{0}
	}
	var all []int
	for i := range 1024 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all
}

// Exec replaces the process by another program, bound to a CPU unless cpu is
// negative, after it has said its process number on standard output. The number
// is that of the process namespace it is in, as the tester's is.
func Exec(cpu int, argv []string) error {
	runtime.LockOSThread()
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("bench: bind to CPU %d: %w", cpu, err)
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	fmt.Println(os.Getpid())
	return fmt.Errorf("bench: run %s: %w", argv[0], unix.Exec(path, argv, os.Environ()))
}

// lockThread keeps the goroutine on one thread, whose sleeps the kernel ends
// within a microsecond rather than the usual fifty (PR_SET_TIMERSLACK). The
// thread ends with the goroutine.
func lockThread() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0)
}
