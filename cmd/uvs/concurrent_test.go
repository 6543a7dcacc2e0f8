package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"uvs/forwarder/client"
	"uvs/internal/nstest"
)

// startTestDirector runs a director on a socket until the test ends.
func startTestDirector(t *testing.T, socket string) {
	t.Helper()
	cmd := exec.Command("uvs", "director", "--socket", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	awaitAnswer(t, socket)
}

func awaitAnswer(t *testing.T, socket string) {
	t.Helper()
	nstest.Eventually(t, "the director answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.New(socket).About(ctx)
		return err == nil
	})
}

// tool runs one of our tools as a process of its own.
func tool(socket, stdin, words string) (string, error) {
	name, args, _ := strings.Cut(words, " ")
	cmd := exec.Command(name, strings.Fields(args)...)
	cmd.Env = append(os.Environ(), "UVS_SOCKET="+socket)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", words, err, out)
	}
	return string(out), nil
}

// Hundreds of ipvsadm processes concurrently add, edit and remove servers of one service; the
// result is the same as in any order.
func TestHundredsOfIpvsadmAtOnce(t *testing.T) {
	nstest.Need(t)
	socket := filepath.Join(t.TempDir(), "socket")
	startTestDirector(t, socket)
	if _, err := tool(socket, "", "ipvsadm -A -t 10.0.0.1:80 -s wlc"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var want []string
	for i := range 100 {
		server := fmt.Sprintf("-t 10.0.0.1:80 -r 10.1.0.%d:80", i+1)
		commands := []string{"-a " + server + " -m -w 1", "-e " + server + " -m -w 5"}
		if i%2 == 0 {
			commands = append(commands, "-d "+server)
		} else {
			want = append(want, "-a "+server+" -m -w 5\n")
		}
		wg.Go(func() {
			for _, words := range commands {
				if _, err := tool(socket, "", "ipvsadm "+words); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := tool(socket, "", "ipvsadm -Sn")
	if err != nil {
		t.Fatal(err)
	}
	if want := "-A -t 10.0.0.1:80 -s wlc\n" + strings.Join(want, ""); got != want {
		t.Errorf("left:\n%swant:\n%s", got, want)
	}
}

// While two configurations alternate, each listing shows one of them.
func TestListingsSeeNothingHalfMade(t *testing.T) {
	nstest.Need(t)
	socket := filepath.Join(t.TempDir(), "socket")
	startTestDirector(t, socket)
	configurations := []string{"", ""}
	for i := range configurations {
		configurations[i] = "-A -t 10.0.0.1:80 -s wlc\n"
		for j := range 20 {
			configurations[i] += fmt.Sprintf("-a -t 10.0.0.1:80 -r 10.1.%d.%d:80 -m -w %d\n", i, j+1, i+1)
		}
	}
	if _, err := tool(socket, configurations[0], "uvs apply -"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		for i := range 30 {
			if _, err := tool(socket, configurations[(i+1)%2], "uvs apply -"); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := tool(socket, "", "ipvsadm -Sn")
				if err != nil || got != configurations[0] && got != configurations[1] {
					t.Errorf("%v, a listing shows\n%s", err, got)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Each network namespace has its own name @uvs.
func TestIpvsadmReachesTheDirectorOfItsNamespace(t *testing.T) {
	nstest.Need(t)
	nodes := []*nstest.Node{nstest.NewNode(t), nstest.NewNode(t)}
	for i, n := range nodes {
		n.Do(func() error {
			cmd := exec.Command("uvs", "director")
			if err := cmd.Start(); err != nil {
				return err
			}
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
			})
			return nil
		})
		words := fmt.Sprintf("ipvsadm -A -t 10.0.0.%d:80 -s rr", i+1)
		nstest.Eventually(t, "the director answers", func() bool {
			return n.Try(func() error {
				_, err := tool("", "", words)
				return err
			}) == nil
		})
	}
	for i, n := range nodes {
		n.Do(func() error {
			got, err := tool("", "", "ipvsadm -Sn")
			if want := fmt.Sprintf("-A -t 10.0.0.%d:80 -s rr\n", i+1); got != want {
				t.Errorf("namespace %d has\n%swant\n%s", i, got, want)
			}
			return err
		})
	}
}
