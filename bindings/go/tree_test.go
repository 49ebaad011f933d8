package treering

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestCheckoutAndClone(t *testing.T) {
	store := emptyStore(t)
	tree, copied := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "copied")
	write(t, filepath.Join(tree, "a"), "1")
	write(t, filepath.Join(tree, "d/keep"), "keep")
	exact := &CommitOptions{Nanoseconds: true}
	first := must[*CommitResult](t)(store.Commit(background, tree, "app:1", exact))
	write(t, filepath.Join(tree, "a"), "22")
	write(t, filepath.Join(tree, "b"), "new")
	second := must[*CommitResult](t)(store.Commit(background, tree, "app:2", exact))

	changes := []Change{{Kind: Changed}, {Kind: Changed, Path: "a"}, {Kind: Deleted, Path: "b"}}
	would := must[*CheckoutResult](t)(store.Checkout(background, "app:1", tree, &CheckoutOptions{DryRun: true}))
	if !reflect.DeepEqual(would.Changes, changes) || would.Manifest != first.Manifest {
		t.Errorf("%+v", would)
	}
	did := must[*CheckoutResult](t)(store.Checkout(background, "app:1", tree, nil))
	if !reflect.DeepEqual(did.Changes, changes) || did.Written != 1 || did.Removed != 1 || did.Kept < 2 {
		t.Errorf("%+v", did)
	}
	if text := must[[]byte](t)(os.ReadFile(filepath.Join(tree, "a"))); string(text) != "1" {
		t.Errorf("%q", text)
	}
	back := must[*CheckoutResult](t)(store.Checkout(background, "-", tree, nil))
	if back.Manifest != second.Manifest {
		t.Errorf("%+v", back)
	}

	write(t, filepath.Join(tree, "mine"), "x")
	if _, err := store.Checkout(background, "app:1", tree, nil); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	clone := must[*CloneResult](t)(store.Clone(background, tree, copied, nil))
	if clone.Manifest != second.Manifest || clone.Entries != 5 {
		t.Errorf("%+v", clone)
	}
	discarded := must[*CheckoutResult](t)(store.Checkout(background, "app:2", copied, &CheckoutOptions{Discard: true}))
	if !reflect.DeepEqual(discarded.Changes, []Change{{Kind: Changed}, {Kind: Deleted, Path: "mine"}}) {
		t.Errorf("%+v", discarded)
	}
	if _, err := store.Clone(background, tree, copied, nil); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	if _, err := store.Clone(background, t.TempDir(), filepath.Join(t.TempDir(), "x"), nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(background)
	cancel()
	if _, err := store.Checkout(ended, "app:1", copied, nil); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAnUnchangedTreeIsTheSameImage(t *testing.T) {
	store, tree := emptyStore(t), t.TempDir()
	write(t, filepath.Join(tree, "f"), "x")
	first := must[*CommitResult](t)(store.Commit(background, tree, "app:1", nil))
	same := must[*CommitResult](t)(store.Commit(background, tree, "app:2", &CommitOptions{OnlyIfChanged: true}))
	other := must[*CommitResult](t)(store.Commit(background, tree, "app:3", nil))
	if same.ImageID != first.ImageID || other.ImageID == first.ImageID {
		t.Error(first.ImageID, same.ImageID, other.ImageID)
	}
}
