package treering

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"
)

func TestEdit(t *testing.T) {
	store, tree := emptyStore(t), t.TempDir()
	write(t, filepath.Join(tree, "a"), "1")
	must[*CommitResult](t)(store.Commit(background, tree, "app:1", nil))
	diff := must[*Diff](t)(store.DiffTree(background, tree, "", nil))
	_ = diff.Close()
	write(t, filepath.Join(tree, "b"), "2")
	diff = must[*Diff](t)(store.DiffTree(background, tree, "", nil))
	defer diff.Close()
	var layer bytes.Buffer
	wrote := must[*LayerResult](t)(WriteLayer(background, diff, &layer, nil))
	second := must[*CommitResult](t)(store.Commit(background, tree, "app:2", nil))

	same := must[*EditResult](t)(store.Edit(background, "app:1", "app:again", nil))
	if again := must[*EditResult](t)(store.Edit(background, "app:again", "", nil)); again.ImageID != same.ImageID || same.Layers != 1 {
		t.Errorf("%+v %+v", same, again)
	}
	more := must[*EditResult](t)(store.Edit(background, "app:1", "app:more", &EditOptions{
		Append: []io.Reader{bytes.NewReader(layer.Bytes()), iotest.OneByteReader(bytes.NewReader(layer.Bytes()))},
		Labels: map[string]string{"tier": "web"}, Changes: []string{"ENV A=b"}, Created: time.Unix(1700000000, 0)}))
	image := must[*Image](t)(store.Image("app:more"))
	defer image.Close()
	layers := image.Layers()
	if more.Layers != 3 || more.HasSquashed || len(layers) != 3 || layers[2].DiffID != wrote.DiffID || layers[1].DiffID != wrote.DiffID {
		t.Errorf("%+v %+v", more, layers)
	}
	if text := must[[]byte](t)(image.FS().ReadFile("b")); string(text) != "2" {
		t.Errorf("%q", text)
	}
	if inspected := must[*Inspection](t)(image.Inspect()); inspected.Created != "2023-11-14T22:13:20Z" {
		t.Errorf("%+v", inspected)
	}
	one := must[*EditResult](t)(store.Edit(background, second.Manifest, "app:one", &EditOptions{Squash: AllLayers, Compression: "zstd"}))
	if one.Layers != 1 || !one.HasSquashed || one.SquashedDiffID == "" || one.SquashedSize == 0 {
		t.Errorf("%+v", one)
	}
	rebased := must[*EditResult](t)(store.Edit(background, "app:2", "", &EditOptions{Rebase: &[2]string{"app:1", "app:one"}}))
	if rebased.Layers != 2 {
		t.Errorf("%+v", rebased)
	}
	if dropped := must[*EditResult](t)(store.Edit(background, "app:2", "", &EditOptions{DropLast: 1})); dropped.Layers != 1 {
		t.Errorf("%+v", dropped)
	}
}

func TestEditsThatFail(t *testing.T) {
	store, tree := emptyStore(t), t.TempDir()
	write(t, filepath.Join(tree, "a"), "1")
	must[*CommitResult](t)(store.Commit(background, tree, "app:1", nil))
	for _, options := range []EditOptions{{DropLast: 2}, {DropLast: -1}, {Squash: -2}, {Squash: 5}, {Threads: -1},
		{Rebase: &[2]string{"app:1", "app:1\x00"}}, {Changes: []string{"NOPE"}}} {
		if _, err := store.Edit(background, "app:1", "app:x", &options); !errors.Is(err, ErrInvalidArgument) && !errors.Is(err, ErrSyntax) {
			t.Errorf("%+v: %v", options, err)
		}
	}
	mine := errors.New("mine")
	broken := &EditOptions{Append: []io.Reader{iotest.ErrReader(mine)}}
	if _, err := store.Edit(background, "app:1", "app:x", broken); !errors.Is(err, ErrCallback) || !errors.Is(err, mine) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(background)
	cancel()
	if _, err := store.Edit(ended, "app:1", "app:x", nil); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	if _, err := store.Image("app:x"); !errors.Is(err, ErrNotFound) {
		t.Error("something has the name", err)
	}
}
