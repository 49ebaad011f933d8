package treering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLayersAreStreams(t *testing.T) {
	store := emptyStore(t)
	image := imageOf(t, store, "app:1", func(tree string) {
		write(t, filepath.Join(tree, "a"), "first")
		write(t, filepath.Join(tree, "b"), strings.Repeat("0123456789", 300_000))
		try(t, os.Symlink("a", filepath.Join(tree, "l")))
	})
	blob := must[io.ReadCloser](t)(image.OpenLayer(0))
	data := must[[]byte](t)(io.ReadAll(blob))
	try(t, blob.Close())
	if err := blob.Close(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if sum(data) != image.Layers()[0].Digest {
		t.Error(sum(data))
	}
	tar := must[io.ReadCloser](t)(image.OpenLayerTar(0))
	defer tar.Close()
	if plain := must[[]byte](t)(io.ReadAll(tar)); sum(plain) != image.Layers()[0].DiffID {
		t.Error(sum(plain))
	}
	for _, index := range []int{-1, 1} {
		if _, err := image.OpenLayer(index); !errors.Is(err, ErrInvalidArgument) {
			t.Error(index, err)
		}
	}

	for name, files := range map[string]func() string{
		"image": func() string {
			return listed(t, func(f func(*LayerFile, error) bool) { image.LayerFiles(background, 0, nil)(f) })
		},
		"reader": func() string {
			return listed(t, func(f func(*LayerFile, error) bool) { LayerFiles(background, bytes.NewReader(data), nil)(f) })
		},
	} {
		if got := files(); got != "2:0; 1 a:5; 1 b:3000000; 3 l:0; " && got != "2 :0; 1 a:5; 1 b:3000000; 3 l:0; " {
			t.Error(name, got)
		}
	}
	// What is not read is passed over; a loop may end early.
	for file, err := range image.LayerFiles(background, 0, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if file.Path == "b" {
			var head [4]byte
			if _, err := io.ReadFull(file, head[:]); err != nil || string(head[:]) != "0123" {
				t.Error(err, head)
			}
			break
		}
	}
}

func listed(t *testing.T, files func(func(*LayerFile, error) bool)) string {
	t.Helper()
	var out string
	for file, err := range files {
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%d %s:%d; ", file.Kind, file.Path, len(must[[]byte](t)(io.ReadAll(file))))
	}
	return out
}

func TestLayersThatFail(t *testing.T) {
	store := emptyStore(t)
	image := imageOf(t, store, "app:1", func(tree string) { write(t, filepath.Join(tree, "a"), strings.Repeat("x", 100_000)) })
	broken := errors.New("broken")
	last := func(ctx context.Context, r io.Reader) (err error) {
		for _, err = range LayerFiles(ctx, r, nil) {
		}
		return err
	}
	if err := last(background, failingReader{broken}); !errors.Is(err, broken) || !errors.Is(err, ErrCallback) {
		t.Error(err)
	}
	if err := last(background, strings.NewReader("this is no tar")); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	for _, err := range image.LayerFiles(ctx, 0, nil) {
		cancel()
		if err != nil && (!errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled)) {
			t.Error(err)
		}
	}
	if err := last(ctx, strings.NewReader("")); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	for _, err := range image.LayerFiles(background, 1, nil) {
		if !errors.Is(err, ErrInvalidArgument) {
			t.Error(err)
		}
	}
	// A layer that was damaged is found out at its end.
	path := must[string](t)(store.Path())
	file := filepath.Join(path, "oci/blobs/sha256", strings.TrimPrefix(image.Layers()[0].Digest, "sha256:"))
	data := must[[]byte](t)(os.ReadFile(file))
	data[len(data)-3] ^= 1
	try(t, os.Chmod(file, 0o644))
	try(t, os.WriteFile(file, data, 0o644))
	blob := must[io.ReadCloser](t)(image.OpenLayer(0))
	defer blob.Close()
	if _, err := io.ReadAll(blob); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
