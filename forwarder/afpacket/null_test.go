package afpacket

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

// BenchmarkNull is the null forwarder: frames are taken from one veth pair,
// given other MAC addresses, and sent by a second one. It is the floor under
// every director, as it does all a port does and nothing else.
//
//	generator ── cli ═ in ── null forwarder ── out ═ srv ── dropped
//	 (CPU 0)                     (CPU 1)
//
// The generator is a process of its own. cpu-ns/pkt is this process's CPU time
// for each frame that was forwarded, the kernel's part included: transmit and
// the peer's receive path run in our system call.
func BenchmarkNull(b *testing.B) {
	for _, profile := range []Profile{Latency, Throughput} {
		for _, size := range []int{60, 1514, 65535} { // the last are super-frames
			for _, kpps := range []int{0, 250} {
				if size == 65535 && kpps > 0 {
					continue
				}
				name := fmt.Sprintf("%v/%dB/%dkpps", profile, size, kpps)
				b.Run(name, func(b *testing.B) { benchmarkNull(b, Config{Profile: profile}, size, kpps) })
			}
		}
	}
}

func benchmarkNull(b *testing.B, cfg Config, size, kpps int) {
	nstest.Veth(b, "cli", "in")
	nstest.Veth(b, "out", "srv")
	dropIngress(b, "in", "srv")
	cfg.Interface = byName(b, "in")
	in, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := Sender(Config{Interface: byName(b, "out")})
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	pin(b, 1)
	startGenerator(b, size, kpps)
	fs := make([]frame.Frame, 64)
	forward(b, in, out, fs, 20_000) // warm up
	before, cpu, begin := in.Stats(), cpuTime(), time.Now()
	b.ReportAllocs()
	b.ResetTimer()
	batches := forward(b, in, out, fs, b.N)
	b.StopTimer()
	cpu, after := cpuTime()-cpu, in.Stats()
	n := float64(after.Received - before.Received)
	drops := float64(after.RingDrops - before.RingDrops)
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/pkt")
	kppsSeen := n / time.Since(begin).Seconds() / 1e3
	b.ReportMetric(kppsSeen, "kpps")
	b.ReportMetric(kppsSeen*float64(size)*8/1e6, "Gbit/s")
	b.ReportMetric(100*drops/(n+drops), "loss-%")
	b.ReportMetric(n/float64(batches), "batch")
}

// forward forwards n frames at least and returns in how many batches.
func forward(b *testing.B, in, out *Port, fs []frame.Frame, n int) int {
	src, dst := []byte{2, 0, 0, 0, 1, 1}, []byte{2, 0, 0, 0, 1, 2}
	batches := 0
	for done := 0; done < n; batches++ {
		got, err := in.Recv(fs)
		if err != nil {
			b.Fatal(err)
		}
		for i := range fs[:got] {
			fs[i].SetMACs(dst, src)
		}
		if sent, err := out.Send(fs[:got]); sent != got || err != nil {
			b.Fatalf("Send = %d of %d, %v", sent, got, err)
		}
		done += got
	}
	return batches
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// dropIngress drops what arrives at interfaces before the host's stack sees it,
// as the director's guard does; packet sockets see it earlier.
func dropIngress(b *testing.B, names ...string) {
	for _, name := range names {
		rules := fmt.Sprintf("table netdev drop_%s {\nchain c {\ntype filter hook ingress device \"%s\" priority 0; policy drop;\n}\n}", name, name)
		if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
			b.Logf("the host's stack sees the frames, which costs CPU time: nft: %v %s", err, out)
			return
		}
		b.Cleanup(func() { _ = exec.Command("nft", "delete table netdev drop_"+name).Run() })
	}
}

// pin binds all threads of this process, and those to come, to a CPU.
func pin(b *testing.B, cpu int) {
	if cpu >= onlineCPUs() {
		b.Logf("generator and forwarder share a CPU")
		return
	}
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			_ = unix.SchedSetaffinity(tid, &set)
		}
	}
}

var onlineCPUs = func() func() int {
	var set unix.CPUSet
	_ = unix.SchedGetaffinity(0, &set)
	n := set.Count() // before pin changes it
	return func() int { return n }
}()

const generatorEnv = "UVS_TEST_GENERATOR"

// startGenerator starts this test binary once more as a generator of UDP frames.
func startGenerator(b *testing.B, size, kpps int) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", generatorEnv, size, kpps))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// generate sends UDP frames by cli until it is killed.
func generate(spec string) error {
	var size, kpps int
	if _, err := fmt.Sscan(spec, &size, &kpps); err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(0)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName("cli")
	if err != nil {
		return err
	}
	p, err := Sender(Config{Interface: ifi})
	if err != nil {
		return err
	}
	fs := make([]frame.Frame, 64)
	for i := range fs {
		f := conform.Super()
		if size < len(f.Bytes) {
			f = porttest.Frame{Bytes: conform.UDP(uint16(1000+i), size-42)}
		}
		b := append(make([]byte, frame.Headroom), f.Bytes...)
		fs[i].Reset(b, frame.Headroom, len(b), size)
		fs[i].Offload = f.Offload
	}
	for begin, sent := time.Now(), 0; ; sent += len(fs) {
		if kpps > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Millisecond / time.Duration(kpps))))
		}
		if _, err := p.Send(fs); err != nil {
			return err
		}
	}
}
