// A command in a directory, as root sees it: its owners, devices and capabilities are in the next layer, for any user.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/treering/treering/bindings/go"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: run_command STORE DIR COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	ctx := context.Background()
	store, err := treering.Open(os.Args[1])
	check(err)
	defer store.Close()
	dir := os.Args[2]
	// What the command changes is compared with this.
	_, err = store.Commit(ctx, dir, "before:v1", nil)
	check(err)
	cmd := store.Command(ctx, dir, os.Args[3], os.Args[4:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	var exit *treering.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		os.Exit(exit.Code)
	} else {
		check(err)
	}
	image, err := store.Commit(ctx, dir, "after:v1", nil)
	check(err)
	fmt.Println(image.ImageID)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
