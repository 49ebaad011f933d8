package treering

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestEightGoroutinesCommitAtOnce(t *testing.T) {
	store, _ := setting(t)
	dir := t.TempDir()
	var all sync.WaitGroup
	for number := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			tree := filepath.Join(dir, fmt.Sprint("tree", number))
			if err := os.Mkdir(tree, 0o755); err != nil {
				t.Error(err)
				return
			}
			for step := range 5 {
				if err := os.WriteFile(filepath.Join(tree, fmt.Sprint(step)), []byte(tree), 0o644); err != nil {
					t.Error(err)
				}
				if _, err := store.Commit(background, tree, fmt.Sprintf("app:%d.%d", number, step), nil); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	refs := must[[]Ref](t)(store.Refs())
	if report := must[*FsckResult](t)(store.Fsck(background, FsckBytes)); len(refs) != 40 || len(report.Problems) != 0 {
		t.Fatal(len(refs), report)
	}
	image := must[*Image](t)(store.Image("app:7.4"))
	defer image.Close()
	if len(image.Layers()) != 5 {
		t.Error(image.Layers())
	}
}

// TestOneDiffManyGoroutines: a second iteration gets an error while another one runs, and neither gets half of the changes.
func TestOneDiffManyGoroutines(t *testing.T) {
	store, tree := setting(t)
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	defer diff.Close()
	var all sync.WaitGroup
	var whole atomic.Int32
	busy := make(chan struct{}, 1)
	for range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for whole.Load() < 50 || len(busy) == 0 {
				n := 0
				for _, err := range diff.Changes() {
					if errors.Is(err, ErrBusy) {
						select {
						case busy <- struct{}{}:
						default:
						}
						n = -1
						break
					} else if err != nil {
						t.Error(err)
						return
					}
					n++
				}
				if n == 3 {
					whole.Add(1)
				} else if n != -1 {
					t.Errorf("%d changes", n)
					return
				}
			}
		}()
	}
	all.Wait()
}

// TestClosedWhileInUse: calls that are at work go on, later ones are errors.
func TestClosedWhileInUse(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		store := must[*Store](t)(Open(filepath.Join(dir, "store")))
		ended := make(chan error)
		for range 3 {
			go func() {
				for {
					if _, err := store.Fsck(background, FsckStructure); err != nil {
						ended <- err
						return
					}
				}
			}()
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
	}
}
