// Command bench commits a tree several times and prints how many seconds each time took: STORE TREE TIMES.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/treering/treering/bindings/go"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: bench STORE TREE TIMES")
	}
	store, err := treering.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	times, _ := strconv.Atoi(os.Args[3])
	options := &treering.CommitOptions{Base: "scratch", Created: time.Unix(0, 0)}
	for range times {
		began := time.Now()
		if _, err := store.Commit(context.Background(), os.Args[2], "a:b", options); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%.6f\n", time.Since(began).Seconds())
	}
}
