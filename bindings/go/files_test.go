package treering

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// emptyStore is an open store.
func emptyStore(t *testing.T) *Store {
	t.Helper()
	store := must[*Store](t)(Open(filepath.Join(t.TempDir(), "store")))
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// imageOf commits a directory that a function fills, and opens the image.
func imageOf(t *testing.T, store *Store, name string, fill func(tree string)) *Image {
	t.Helper()
	tree := t.TempDir()
	fill(tree)
	must[*CommitResult](t)(store.Commit(background, tree, name, nil))
	image := must[*Image](t)(store.Image(name))
	t.Cleanup(func() { image.Close() })
	return image
}

func TestFilesOfAnImageAreAFilesystem(t *testing.T) {
	store := emptyStore(t)
	// It is read byte by byte, which takes its time where each call collects garbage.
	size := 10_000_000
	if testing.Short() {
		size = 1000
	}
	image := imageOf(t, store, "files:1", func(tree string) {
		write(t, filepath.Join(tree, "etc/os-release"), "NAME=x\n")
		write(t, filepath.Join(tree, "usr/lib/a"), "a")
		write(t, filepath.Join(tree, "usr/lib/empty"), "")
		write(t, filepath.Join(tree, "usr/big"), strings.Repeat("0123456789", size/10))
		try(t, os.Symlink("/usr/lib", filepath.Join(tree, "lib")))
		try(t, os.Symlink("../../../etc/os-release", filepath.Join(tree, "usr/lib/release")))
		try(t, os.Chmod(filepath.Join(tree, "usr/lib/a"), 0o4755|fs.ModeSetuid))
	})
	files := image.FS()
	if err := fstest.TestFS(files, "etc/os-release", "usr/lib/a", "usr/big", "lib", "usr/lib/release"); err != nil {
		t.Fatal(err)
	}
	var names []string
	try(t, fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	want := []string{".", "etc", "etc/os-release", "lib", "usr", "usr/big", "usr/lib", "usr/lib/a", "usr/lib/empty", "usr/lib/release"}
	if !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	for _, name := range []string{"etc/os-release", "lib/release", "usr/lib/release"} {
		if text := must[[]byte](t)(fs.ReadFile(files, name)); string(text) != "NAME=x\n" {
			t.Errorf("%s: %q", name, text)
		}
	}
	if text := must[[]byte](t)(fs.ReadFile(files, "usr/lib/empty")); len(text) != 0 {
		t.Errorf("%q", text)
	}
	info := must[fs.FileInfo](t)(fs.Stat(files, "lib/a"))
	if info.Mode() != 0o755|fs.ModeSetuid || info.Size() != 1 || info.Name() != "a" || info.Sys().(Entry).Kind != File {
		t.Errorf("%v", info)
	}
	if target := must[string](t)(files.ReadLink("lib")); target != "/usr/lib" {
		t.Error(target)
	}
	if link := must[fs.FileInfo](t)(files.Lstat("lib")); link.Mode().Type() != fs.ModeSymlink {
		t.Error(link)
	}
	sub := must[fs.FS](t)(fs.Sub(files, "usr/lib"))
	if text := must[[]byte](t)(fs.ReadFile(sub, "a")); string(text) != "a" {
		t.Errorf("%q", text)
	}
	matches := must[[]string](t)(fs.Glob(files, "usr/*/a"))
	if !slices.Equal(matches, []string{"usr/lib/a"}) {
		t.Error(matches)
	}
}

func TestWhatIsNoFileOfAnImage(t *testing.T) {
	store := emptyStore(t)
	image := imageOf(t, store, "files:1", func(tree string) {
		write(t, filepath.Join(tree, "d/f"), "x")
		try(t, os.Symlink("loop", filepath.Join(tree, "loop")))
		try(t, os.Symlink("nowhere", filepath.Join(tree, "dangling")))
	})
	files := image.FS()
	for _, name := range []string{"none", "d/none", "dangling"} {
		var failure *fs.PathError
		if _, err := files.Open(name); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &failure) || failure.Path != name ||
			!errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/d", "../d", "d/", "", "d//f", "./d"} {
		if _, err := files.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, f := range map[string]func() error{
		"loop":      func() error { _, err := files.Stat("loop"); return err },
		"read dir":  func() error { _, err := files.ReadFile("d"); return err },
		"list file": func() error { _, err := files.ReadDir("d/f"); return err },
		"link":      func() error { _, err := files.ReadLink("d"); return err },
	} {
		if err := f(); err == nil {
			t.Error(name)
		}
	}
	file := must[fs.File](t)(files.Open("d/f"))
	directory := must[fs.File](t)(files.Open("d"))
	if _, err := directory.Read(make([]byte, 1)); err == nil {
		t.Error("a directory was read")
	}
	try(t, image.Close())
	if text := must[[]byte](t)(io.ReadAll(file)); string(text) != "x" {
		t.Errorf("%q", text)
	}
	for _, closing := range []fs.File{file, directory} {
		try(t, closing.Close())
		if err := closing.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := files.Open("d/f"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
