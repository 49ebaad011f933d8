package treering

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// resources is what a leak would show in.
type resources struct{ descriptors, handles, resident int }

func used(t *testing.T) (r resources) {
	debug.FreeOSMemory()
	list := must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd"))
	text := must[[]byte](t)(os.ReadFile("/proc/self/statm"))
	if _, err := fmt.Sscanf(string(text), "%d %d", new(int), &r.resident); err != nil {
		t.Fatal(err)
	}
	r.descriptors, r.handles, r.resident = len(list), ffi.LiveHandles(), r.resident*os.Getpagesize()
	return r
}

// inMemory is a directory on a filesystem in memory where there is one: it is not the disk that is tried.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "treering-go-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestSoak opens, commits, fails and cancels, 10,000 times: memory, descriptors and handles stay where they are. Under the
// race detector it is a tenth of that, and memory is not looked at.
func TestSoak(t *testing.T) {
	dir := inMemory(t)
	tree := filepath.Join(dir, "tree")
	write(t, filepath.Join(tree, "a"), "a")
	cycles := 4000
	if testing.Short() {
		cycles = 100
	} else if detectsRaces {
		cycles = 1000
	}
	why := errors.New("why")
	cycle := func(i int) {
		store := must[*Store](t)(Open(filepath.Join(dir, "store")))
		_, missing := store.Image("none:1")
		must[*CommitResult](t)(store.Commit(background, tree, "soak:now", &CommitOptions{Base: "scratch", Created: when}))
		ctx, cancel := context.WithCancelCause(background)
		_, cancelled := store.Load(ctx, endless{func() { cancel(why) }}, nil)
		_, broke := store.Load(background, broken{panics: i%2 == 0}, nil)
		diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
		changes := 0
		for range diff.Changes() {
			changes++
		}
		if !errors.Is(missing, ErrNotFound) || !errors.Is(cancelled, why) || !errors.Is(broke, errBroken) || changes != 1 {
			t.Fatal(missing, cancelled, broke, changes)
		}
		if i%100 == 0 && !errors.Is(wrap(ffi.TestPanic()), ErrInternal) {
			t.Fatal("no error")
		}
		if err := errors.Join(diff.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// Long enough that the allocators and the pool of threads have come to rest: what they keep is no leak.
	for i := range cycles / 2 {
		cycle(i)
	}
	before := used(t)
	for i := range cycles {
		cycle(i)
	}
	after := used(t)
	t.Logf("%d cycles: %+v became %+v", cycles, before, after)
	// A leak of 400 bytes in each of 10,000 cycles would be more.
	grown := after.resident > before.resident+4<<20 && !detectsRaces
	if after.descriptors > before.descriptors || after.handles > before.handles || grown {
		t.Errorf("%+v became %+v", before, after)
	}
}

// TestWhatIsForgottenIsClosed opens and never closes.
func TestWhatIsForgottenIsClosed(t *testing.T) {
	dir := t.TempDir()
	runtime.GC()
	before := used(t)
	for range 100 {
		must[*Store](t)(Open(filepath.Join(dir, "store")))
	}
	for range 100 {
		runtime.GC()
		if after := used(t); after.descriptors <= before.descriptors && after.handles <= before.handles {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%+v became %+v", before, used(t))
}
