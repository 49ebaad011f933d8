package treering_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/treering/treering/bindings/go"
)

func Example() {
	dir, _ := os.MkdirTemp("", "treering")
	defer os.RemoveAll(dir)
	tree := filepath.Join(dir, "rootfs")
	_ = os.Mkdir(tree, 0o755)
	_ = os.WriteFile(filepath.Join(tree, "hello.txt"), []byte("hello\n"), 0o644)

	ctx := context.Background()
	store, err := treering.Open(filepath.Join(dir, "store"))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if _, err := store.Commit(ctx, tree, "hello:v1", nil); err != nil {
		panic(err)
	}
	_ = os.WriteFile(filepath.Join(tree, "more.txt"), nil, 0o644)
	diff, err := store.DiffTree(ctx, tree, "hello:v1", nil)
	if err != nil {
		panic(err)
	}
	defer diff.Close()
	for change, err := range diff.Changes() {
		if err != nil {
			panic(err)
		}
		fmt.Println(change)
	}
	_, err = store.Image("other:v1")
	fmt.Println(errors.Is(err, treering.ErrNotFound))
	// Output:
	// A /more.txt
	// true
}

func TestExamplesRun(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	run := func(in, name string, arguments ...string) string {
		command := exec.Command(name, arguments...)
		command.Dir = in
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	run("../../examples/go", "go", "build", "-o", bin+"/", "./...")
	// The program in the README, too, and the lines in that of the project.
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TREERING_ROOT", filepath.Join(dir, "readme-store"))
	inside := "package main\nimport (\"context\"; \"fmt\"; \"github.com/treering/treering/bindings/go\")\n" +
		"func main() {\nctx := context.Background()\n%s\nif err != nil { panic(err) }\nfmt.Println(made.ImageID)\n}\n"
	for document, frame := range map[string]string{"README.md": "%s", "../../README.md": inside} {
		readme, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		_, program, _ := strings.Cut(string(readme), "```go\n")
		program, _, _ = strings.Cut(program, "```")
		file := filepath.Join(dir, "readme.go")
		if err := os.WriteFile(file, fmt.Appendf(nil, frame, program), 0o644); err != nil {
			t.Fatal(err)
		}
		run("../../examples/go", "go", "build", "-o", bin+"/readme", file)
		if out := run(dir, bin+"/readme"); !strings.HasPrefix(out, "sha256:") {
			t.Error(document, out)
		}
	}
	if out := run(dir, bin+"/make_image"); !strings.HasPrefix(out, "sha256:") {
		t.Error(out)
	}
	if out := run(dir, bin+"/checkpoint", "work"); !strings.HasSuffix(out, "back at step 1: two\n") {
		t.Error(out)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := run(dir, bin+"/diff_trees", "empty", "hello-rootfs"); !strings.HasPrefix(out, "A /hello.txt") {
		t.Error(out)
	}
}
