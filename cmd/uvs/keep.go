package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"uvs/forwarder/director"
	"uvs/internal/keeper"
	"uvs/internal/lean"
)

// keeperName is what the keeper's process is called (proc(5), comm): who kills uvs by its name
// means the director, which is to come back.
const keeperName = "director-keeper"

// keepDirector runs this command without --keep as a child that is kept running, until that
// ends by itself.
func keepDirector(log *slog.Logger) error {
	_ = os.WriteFile("/proc/self/comm", []byte(keeperName), 0)
	lean.NoPackets()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	k := keeper.Keeper{Command: keeper.Command{Path: program, Args: keeper.Without(os.Args, "keep")}, Log: log}
	status, err := k.Run(keeper.Signals())
	if err == nil && status != 0 {
		os.Exit(status) // the child has said why
	}
	return err
}

// managerKeeps reports whether the service manager that started this process says that it keeps
// descriptors: how many at most (systemd.exec(5), $FDSTORE), or those that it kept.
func managerKeeps(env func(name string) string) bool {
	most, _ := strconv.Atoi(env("FDSTORE"))
	return most > 0 || env("LISTEN_FDS") != ""
}

// cleanHost undoes what a killed director has left.
func cleanHost(c director.Config) error {
	done, err := director.Clean(c)
	for _, line := range done {
		fmt.Println(line)
	}
	if len(done) == 0 && err == nil {
		fmt.Println("nothing was left behind")
	}
	return err
}
