// Prints what is different between two directories: names, content, modes, owners, times, attributes.
//
// usage: diff_trees OLD NEW
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/treering/treering/bindings/go"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: diff_trees OLD NEW")
	}
	diff, err := treering.DiffTrees(context.Background(), os.Args[1], os.Args[2], &treering.DiffOptions{Owner: "keep"})
	if err != nil {
		log.Fatal(err)
	}
	defer diff.Close()
	for change, err := range diff.Changes() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change, change.Reasons)
	}
}
