package lab_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab"
	"uvs/lab/labtest"
)

func TestSecondDirectorIsRefusedInOneLine(t *testing.T) {
	l := own(t, "nat")
	direct(t, l, "--rules", rules(t, l))
	awaitRules(t, l, "Masq")
	var said bytes.Buffer
	second := l.Command("director", "uvs", "director")
	second.Stderr = &said
	var exit *lab.ExitError
	if err := second.Run(); !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("a second director ends with %v", err)
	}
	if s := said.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "answers there already") {
		t.Errorf("it says:\n%s", s)
	}
	elsewhere := l.Command("rs1", "uvs", "director")
	if err := elsewhere.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := l.Exec("rs1", "ipvsadm", "-Ln"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	flows(t, l)
	_ = elsewhere.Signal(unix.SIGTERM)
	if err := elsewhere.Wait(); err != nil {
		t.Errorf("a director in another namespace: %v", err)
	}
}

func TestDirectorThatWasKilledStartsAgainAtOnce(t *testing.T) {
	l := own(t, "nat")
	file := rules(t, l)
	for range 3 {
		d := direct(t, l, "--rules", file)
		awaitRules(t, l, "Masq")
		flows(t, l)
		if err := d.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	direct(t, l, "--rules", file)
	awaitRules(t, l, "Masq")
	flows(t, l)
}

// transfer downloads n bytes and returns a channel for the result.
func transfer(l *lab.Lab, path string) <-chan error {
	done := make(chan error, 1)
	go func() {
		client := l.HTTPClient("client")
		client.Timeout = 20 * time.Second
		resp, err := client.Get(url(l, path))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		done <- err
	}()
	return done
}

func TestDirectorThatIsStoppedUnderTrafficEndsWellAndSavesItsRules(t *testing.T) {
	l := own(t, "nat")
	file := rules(t, l)
	d := direct(t, l, "--rules", file)
	awaitRules(t, l, "Masq")
	done := transfer(l, "/bytes/2000000000")
	time.Sleep(200 * time.Millisecond)
	if _, err := l.Exec("director", "ipvsadm", "-A", "-u", "172.16.253.63:53", "-s", "lc"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = d.Signal(unix.SIGTERM)
	if err := d.Wait(); err != nil || time.Since(began) > patience {
		t.Errorf("it ended after %v: %v", time.Since(began), err)
	}
	saved, _ := os.ReadFile(file)
	if s := string(saved); !strings.Contains(s, "-A -u 172.16.253.63:53 -s lc") || strings.Count(s, "-a ") != 2 {
		t.Errorf("saved rules:\n%s", s)
	}
	select {
	case err := <-done:
		t.Logf("the transfer ended: %v", err)
	default: // it hangs without a director
	}
}

func TestTransferOutlivesADirectorThatStandsStill(t *testing.T) {
	l := own(t, "nat")
	d := l.Command("director", "uvs", "director", "--rules", rules(t, l))
	var said pipe
	d.Stderr = &said
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	awaitRules(t, l, "Masq")
	done := transfer(l, "/bytes/150000000")
	time.Sleep(100 * time.Millisecond)
	_ = d.Signal(unix.SIGSTOP)
	time.Sleep(5 * time.Second)
	_ = d.Signal(unix.SIGCONT)
	if err := <-done; err != nil {
		t.Error(err)
	}
	flows(t, l)
	labtest.Exec(t, l, "director", "uvs", "stats", "--check")
	_ = d.Signal(unix.SIGTERM)
	_ = d.Wait()
	if n := strings.Count(said.String(), "did not run for a while"); n != 1 {
		t.Errorf("it says %d times that it did not run, want once:\n%s", n, said.String())
	}
}

// TestReload changes the file under an open connection.
func TestReloadKeepsConnectionsOfWhatStays(t *testing.T) {
	l := own(t, "nat")
	file := rules(t, l)
	d := direct(t, l, "--rules", file)
	awaitRules(t, l, "Masq")
	client := l.HTTPClient("client")
	client.Transport.(*http.Transport).DisableKeepAlives = false
	name := func() string {
		resp, err := client.Get(url(l, "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	first := name()
	text, _ := os.ReadFile(file)
	changed := strings.ReplaceAll(string(text), "-s rr", "-s wlc") + "-A -u 172.16.253.63:53 -s rr\n"
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = d.Signal(unix.SIGHUP)
	awaitRules(t, l, "UDP  172.16.253.63:53 rr")
	awaitRules(t, l, "TCP  172.16.253.63:80 wlc")
	for range 4 {
		if again := name(); again != first {
			t.Fatalf("the connection was with %q and is with %q", first, again)
		}
	}
	if err := os.WriteFile(file, []byte("-A nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = d.Signal(unix.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	awaitRules(t, l, "TCP  172.16.253.63:80 wlc")
	if again := name(); again != first {
		t.Errorf("after a file with nonsense the connection is with %q", again)
	}
}
