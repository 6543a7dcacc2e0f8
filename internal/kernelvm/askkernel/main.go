// Askkernel runs a program as root on a real Linux kernel with IPVS, in a temporary virtual
// machine; its status is the program's:
//
//	go run ./internal/kernelvm/askkernel sh -c 'ipvsadm -A -t 10.0.0.1:80 -s mh; ipvsadm -Ln'
//
// With -record it makes recordings anew instead, each file in place.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"uvs/internal/kernelvm"
	"uvs/internal/kernelvm/recording"
)

// statusFailed is the status if the VM failed and not the program.
const statusFailed = 125

func main() {
	recording.Inside()
	os.Exit(run())
}

func run() int {
	vm := kernelvm.VM{Output: os.Stdout}
	flag.StringVar(&vm.Kernel, "kernel", "6.1", "`version` of the kernel, as Debian's archive has it")
	flag.IntVar(&vm.CPUs, "cpus", 1, "`number` of processors")
	flag.IntVar(&vm.Memory, "memory", 1024, "`MiB`")
	flag.StringVar(&vm.Out, "out", "", "an existing `directory` that the program has as $OUT")
	timeout := flag.Duration("timeout", 10*time.Minute, "`time` after which the VM is ended")
	verbose := flag.Bool("v", false, "write the kernel's messages to stderr at the end")
	anew := flag.Bool("record", false, "make the recordings in the named files anew")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "usage: askkernel [flags] PROGRAM [ARGUMENT...]\n       askkernel [flags] -record FILE...\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return 2
	}
	if *verbose {
		vm.Console = os.Stderr
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if *anew {
		return status(recordAnew(ctx, vm, flag.Args()))
	}
	return status(vm.Run(ctx, flag.Args()...))
}

// status reports an error and returns the process's status for it.
func status(err error) int {
	var exit *kernelvm.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Status
	}
	fmt.Fprintln(os.Stderr, err)
	return statusFailed
}

// recordAnew replaces the answers in files of recordings by those of the VM's kernel. If a
// question fails, its file stays as it is.
func recordAnew(ctx context.Context, vm kernelvm.VM, files []string) error {
	for _, file := range files {
		questions, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		answers, err := recording.Ask(ctx, vm, questions)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, answers, 0o644); err != nil {
			return err
		}
	}
	return nil
}
