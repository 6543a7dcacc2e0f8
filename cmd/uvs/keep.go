package main

import (
	"fmt"
	"log/slog"
	"os"

	"uvs/forwarder/director"
	"uvs/internal/keeper"
)

// keeperName is what the keeper's process is called (proc(5), comm): who kills uvs by its name
// means the director, which is to come back.
const keeperName = "director-keeper"

// keepDirector runs this command without --keep as a child that is kept running, until that
// ends by itself.
func keepDirector(log *slog.Logger) error {
	_ = os.WriteFile("/proc/self/comm", []byte(keeperName), 0)
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
