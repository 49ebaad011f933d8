// A directory that is checkpointed after every step, and can go back to any of them. Every step is a layer of what the step
// changed, so a checkpoint costs what the step did.
//
// usage: checkpoint DIR
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/treering/treering/bindings/go"
)

// checkpoints are the steps of one directory, kept under work:0, work:1, ...
type checkpoints struct {
	store *treering.Store
	dir   string
	steps int
}

func (c *checkpoints) save(ctx context.Context, message string) (*treering.CommitResult, error) {
	made, err := c.store.Commit(ctx, c.dir, fmt.Sprintf("work:%d", c.steps), &treering.CommitOptions{Message: message})
	if err == nil {
		c.steps++
	}
	return made, err
}

// backTo makes the directory what it was after a step, touching only what differs; what was done since stays in the store.
func (c *checkpoints) backTo(ctx context.Context, step int) error {
	_, err := c.store.Checkout(ctx, fmt.Sprintf("work:%d", step), c.dir, &treering.CheckoutOptions{Discard: true})
	return err
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: checkpoint DIR")
	}
	ctx, dir := context.Background(), filepath.Clean(os.Args[1])
	check(os.Mkdir(dir, 0o755))
	store, err := treering.Open(dir + ".store")
	check(err)
	defer store.Close()
	c := &checkpoints{store: store, dir: dir}
	for i, text := range []string{"one\n", "two\n", "three\n"} {
		check(os.WriteFile(filepath.Join(dir, "notes"), []byte(text), 0o644))
		made, err := c.save(ctx, "write notes")
		check(err)
		fmt.Println("step", i, "is a layer of", made.LayerSize, "bytes")
	}
	check(c.backTo(ctx, 1))
	notes, err := os.ReadFile(filepath.Join(dir, "notes"))
	check(err)
	fmt.Printf("back at step 1: %s", notes)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
