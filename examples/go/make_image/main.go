// An image without Docker, in ten lines.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/treering/treering/bindings/go"
)

func main() {
	check(os.Mkdir("hello-rootfs", 0o755))
	check(os.WriteFile("hello-rootfs/hello.txt", []byte("hello\n"), 0o644))
	store, err := treering.Open("hello-store")
	check(err)
	defer store.Close()
	image, err := store.Commit(context.Background(), "hello-rootfs", "hello:v1", &treering.CommitOptions{
		Changes: []string{`CMD ["/bin/cat", "/hello.txt"]`}})
	check(err)
	fmt.Println(image.ImageID)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
