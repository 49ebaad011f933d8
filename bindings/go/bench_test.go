package treering

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// The cost of crossing the boundary: a change, an entry, a short call, and an operation that does next to nothing.

func benchTree(b *testing.B) (string, *Snapshot) {
	tree := b.TempDir()
	for i := range 5000 {
		write(b, filepath.Join(tree, fmt.Sprintf("d%d/f%d", i%50, i)), "")
	}
	s := must[*Snapshot](b)(Scan(background, tree, nil))
	b.Cleanup(func() { _ = s.Close() })
	return tree, s
}

func per(b *testing.B, n int, what string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/"+what)
}

func BenchmarkChanges(b *testing.B) {
	_, s := benchTree(b)
	diff := must[*Diff](b)(DiffSnapshots(nil, s, "", nil))
	defer diff.Close()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range diff.Changes() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	per(b, n, "change")
}

func BenchmarkEntries(b *testing.B) {
	_, s := benchTree(b)
	n := 0
	for b.Loop() {
		for _, err := range s.Entries() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	per(b, n, "entry")
}

func BenchmarkLookup(b *testing.B) {
	_, s := benchTree(b)
	for b.Loop() {
		must[Entry](b)(s.Lookup("d7/f7"))
	}
}

func BenchmarkCallThatDoesNothing(b *testing.B) {
	empty := must[*Snapshot](b)(Scan(background, b.TempDir(), nil))
	defer empty.Close()
	for b.Loop() {
		_ = must[*Diff](b)(DiffSnapshots(nil, empty, "", nil)).Close()
	}
}

// TestAChangeCostsLittle holds what the benchmark measures: 5 microseconds for each change iterated, in the best of many rounds,
// which a busy machine cannot spoil.
func TestAChangeCostsLittle(t *testing.T) {
	store, tree := setting(t)
	for i := range 2000 {
		write(t, filepath.Join(tree, fmt.Sprint(i)), "")
	}
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	defer diff.Close()
	best := time.Hour
	for range 50 {
		start, n := time.Now(), 0
		for change, err := range diff.Changes() {
			if err != nil || change.Path == "" {
				t.Fatal(change, err)
			}
			n++
		}
		best = min(best, time.Since(start)/time.Duration(n))
	}
	t.Log(best, "for each change")
	if best > 5*time.Microsecond && !detectsRaces && !testing.Short() {
		t.Error(best)
	}
}
