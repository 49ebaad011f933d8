package treering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

var background = context.Background()

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// setting is an open store and a tree with a file with a name that is not UTF-8.
func setting(t testing.TB) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree\xff")
	write(t, filepath.Join(tree, "etc/hosts"), "localhost\n")
	write(t, filepath.Join(tree, "b\xfed"), "bytes\n")
	store := must[*Store](t)(Open(filepath.Join(dir, "store")))
	t.Cleanup(func() { _ = store.Close() })
	return store, tree
}

func TestCommitUnpackDiff(t *testing.T) {
	store, tree := setting(t)
	made := must[*CommitResult](t)(store.Commit(background, tree, "app:v1", &CommitOptions{
		Message: "first", Changes: []string{`CMD ["/bin/sh"]`}, Created: time.Unix(0, 0), Annotations: map[string]string{"k": "v"}}))
	if made.Added != 3 || !made.HasLayer || !strings.HasPrefix(made.ImageID, "sha256:") {
		t.Fatalf("%+v", made)
	}
	image := must[*Image](t)(store.Image("app:v1"))
	defer image.Close()
	history := must[[]HistoryRow](t)(image.History())
	inspect := must[*Inspection](t)(image.Inspect())
	report := must[*Report](t)(image.Report(background))
	if len(report.Steps) != 1 || report.Steps[0].Layer.Added.Files != 2 || report.Wasted != 0 || report.ImageID != made.ImageID {
		t.Errorf("%+v", report)
	}
	if page := must[string](t)(image.ReportHTML(background)); !strings.HasPrefix(page, "<!doctype html>") {
		t.Error(page[:80])
	}
	row := HistoryRow{ID: made.ImageID, Created: "1970-01-01T00:00:00Z", CreatedBy: history[0].CreatedBy,
		Size: made.LayerSize, DiffSize: &made.LayerDiffSize, DiffID: made.LayerDiffID, Comment: "first"}
	if len(history) != 1 || !reflect.DeepEqual(history[0], row) {
		t.Errorf("%+v", history)
	}
	if inspect.ID != made.ImageID || inspect.OS != "linux" || inspect.Size != image.Size() || inspect.Comment != "first" ||
		!slices.Equal(inspect.RepoTags, []string{"app:v1"}) || !slices.Equal(inspect.RootFS.Layers, []string{made.LayerDiffID}) ||
		inspect.Annotations["k"] != "v" {
		t.Errorf("%+v", inspect)
	}
	if image.ID() != made.ImageID || image.Digest() != made.Manifest || len(image.Layers()) != 1 ||
		!bytes.Contains(inspect.Config, []byte("/bin/sh")) ||
		!bytes.Contains(image.Config(), []byte("/bin/sh")) || !bytes.Contains(image.Manifest(), []byte(`"k"`)) {
		t.Fatal(image)
	}
	out := filepath.Join(t.TempDir(), "out")
	must[*UnpackResult](t)(store.Unpack(background, "app:v1", out, nil))
	write(t, filepath.Join(out, "new"), "new\n")
	write(t, filepath.Join(out, "etc/hosts"), "changed\n")
	if err := os.Remove(filepath.Join(out, "b\xfed")); err != nil {
		t.Fatal(err)
	}
	diff := must[*Diff](t)(store.DiffTree(background, out, "", nil))
	defer diff.Close()
	for range 2 {
		var got []string
		for change, err := range diff.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, change.String())
		}
		if text := strings.Join(got, "; "); text != "D /b\xfed; C /etc; C /etc/hosts; A /new" &&
			text != "D /b\xfed; C /etc/hosts; A /new" {
			t.Fatalf("%q", text)
		}
	}
	for range diff.Changes() {
		for _, err := range diff.Changes() {
			if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
		}
		break
	}
	if stat, err := diff.Stat(); err != nil || stat.Added != 1 || stat.Deleted != 1 {
		t.Fatal(stat, err)
	}
	trees := must[*Diff](t)(DiffTrees(background, tree, out, &DiffOptions{Owner: "keep"}))
	defer trees.Close()
	var layer bytes.Buffer
	wrote := must[*LayerResult](t)(WriteLayer(background, trees, &layer, &LayerOptions{Compression: "zstd"}))
	if wrote.Size != uint64(layer.Len()) {
		t.Fatal(wrote)
	}
	listed := must[[]LayerEntry](t)(ListLayer(background, bytes.NewReader(layer.Bytes()), nil))
	var names []string
	for _, e := range listed {
		names = append(names, e.Path)
	}
	if fmt.Sprintf("%q", names) != `["" ".wh.b\xfed" "etc" "etc/hosts" "new"]` || listed[0].Kind != Directory ||
		listed[3].Kind != File || listed[3].Size != 8 || listed[3].Mode != 0o644 || listed[3].ModTime.Nanosecond() != 0 {
		t.Fatalf("%q %+v", names, listed)
	}
	applied := must[*ApplyResult](t)(ApplyLayer(background, &layer, filepath.Join(t.TempDir(), "applied"), nil))
	if applied.DiffID != wrote.DiffID || applied.Digest != wrote.Digest {
		t.Fatal(applied, wrote)
	}
	must[*CommitResult](t)(store.Commit(background, out, "app:v2", nil))
	images := must[*Diff](t)(store.DiffImages(background, "app:v1", "app:v2", nil))
	defer images.Close()
	overlay := must[*Diff](t)(DiffOverlay(background, out, []string{tree}, nil))
	defer overlay.Close()
}

func TestAStoreKeepsWhatALayerBrings(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "app:v1", nil))
	work := filepath.Join(t.TempDir(), "work")
	must[*UnpackResult](t)(store.Unpack(background, "app:v1", work, nil))
	write(t, filepath.Join(tree, "new"), "new")
	made := must[*Diff](t)(DiffTrees(background, work, tree, &DiffOptions{Owner: "12:34"}))
	defer made.Close()
	var layer bytes.Buffer
	must[*LayerResult](t)(WriteLayer(background, made, &layer, nil))
	applied := must[*ApplyResult](t)(store.ApplyLayer(background, &layer, work, nil))
	diff := must[*Diff](t)(store.DiffTree(background, work, "", nil))
	defer diff.Close()
	now := must[*Snapshot](t)(diff.New())
	defer now.Close()
	if entry, err := now.Lookup("new"); err != nil || entry.UID != 12 || entry.GID != 34 || applied.Unkept != 0 {
		t.Fatal(entry, applied, err)
	}
	var none *Store
	if _, err := none.ApplyLayer(background, &layer, work, nil); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	store, tree := setting(t)
	made := must[*CommitResult](t)(store.Commit(background, tree, "a:1", nil))
	for _, err := range []error{store.Tag("a:1", "b:1"), store.Untag("a:1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refs := must[[]Ref](t)(store.Refs())
	digest, _, err := store.Resolve("b:1")
	if err != nil || digest != made.Manifest || len(refs) != 1 || refs[0].Digest != digest {
		t.Fatal(refs, digest, err)
	}
	if r := must[*FsckResult](t)(store.Fsck(background, FsckBytes)); len(r.Problems) != 0 || r.Blobs == 0 {
		t.Fatal(r)
	}
	used := must[*Usage](t)(store.Usage(background))
	if used.Trees != 1 || used.Blobs != 3 || len(used.Images) != 1 || !slices.Equal(used.Images[0].Names, []string{"b:1"}) ||
		used.Images[0].Size != used.BlobBytes || used.Images[0].Layers != 1 {
		t.Errorf("%+v", used)
	}
	for _, machine := range []*Machine{must[*Machine](t)(store.Info()), must[*Machine](t)(Info())} {
		if machine.Version != Version() || machine.ABI == 0 || machine.Processors == 0 || machine.Abilities["openat2"].Remark == "" {
			t.Errorf("%+v", machine)
		}
		if machine.Store != nil && (machine.Store.Images != 1 || machine.Store.Trees != 1) {
			t.Errorf("%+v", machine.Store)
		}
	}
	work := filepath.Join(t.TempDir(), "work")
	must[*UnpackResult](t)(store.Unpack(background, "b:1", work, nil))
	tree = filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(tree, "file"), "")
	must[*CommitResult](t)(store.Commit(background, tree, "c:1", &CommitOptions{Owner: "7:8"}))
	// Only the store has another user as the owner of the files of one.
	for known, diff := range map[bool]*Diff{
		false: must[*Diff](t)(DiffTrees(background, tree, work, nil)),
		true:  must[*Diff](t)(store.DiffTrees(background, tree, work, nil)),
	} {
		before := must[*Snapshot](t)(diff.Old())
		e := must[Entry](t)(before.Lookup("file"))
		if (e.UID == 7) != known {
			t.Errorf("%v %+v", known, e)
		}
		if err := errors.Join(before.Close(), diff.Close()); err != nil {
			t.Error(err)
		}
	}
	for _, gone := range []string{tree, work} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	dry := must[*PruneResult](t)(store.Prune(background, &PruneOptions{DryRun: true, LostTrees: true}))
	if refs := must[[]Ref](t)(store.Refs()); len(refs) != 2 || len(dry.Forgotten) != 2 || len(dry.Untagged) != 0 {
		t.Fatalf("%+v %v", dry, refs)
	}
	pruned := must[*PruneResult](t)(store.Prune(background, &PruneOptions{UnusedNames: true, LostTrees: true}))
	// What the first tree was committed as stays: its name is no text, so it cannot be said to be gone.
	if len(pruned.Forgotten) != 2 || len(pruned.Untagged) != 1 || len(pruned.Blobs) == 0 {
		t.Fatalf("%+v", pruned)
	}
	write(t, filepath.Join(tree, "again"), "")
	must[*CommitResult](t)(store.Commit(background, tree, "b:1", nil))
	if err := store.Remove("b:1"); err != nil {
		t.Fatal(err)
	}
	must[*PruneResult](t)(store.Prune(background, &PruneOptions{DryRun: true, Wait: time.Second}))
	cache := must[*PruneResult](t)(store.Prune(background, &PruneOptions{BuildCache: true, AllBuildCache: true, KeepStorage: 1 << 20,
		UnusedFor: time.Hour}))
	if usage := must[*Usage](t)(store.Usage(background)); cache.Records != 0 || usage.CacheRecords != 0 {
		t.Fatalf("%+v %+v", cache, usage)
	}
}

func TestSnapshot(t *testing.T) {
	_, tree := setting(t)
	s := must[*Snapshot](t)(Scan(background, tree, nil))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "snapshot")
	if err := s.Save(file); err != nil {
		t.Fatal(err)
	}
	loaded := must[*Snapshot](t)(LoadSnapshot(file))
	defer loaded.Close()
	var paths []string
	for e, err := range loaded.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, e.Path)
	}
	if fmt.Sprintf("%q", paths) != `["" "b\xfed" "etc" "etc/hosts"]` || loaded.Len() != 4 {
		t.Fatalf("%q", paths)
	}
	e := must[Entry](t)(loaded.Lookup("etc/hosts"))
	if e.Path != "etc/hosts" || e.Size != 10 || e.FileMode() != 0o644 {
		t.Fatal(e)
	}
	must[map[string]string](t)(loaded.Xattrs(e))
	if _, err := loaded.Lookup("none"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	diff := must[*Diff](t)(DiffSnapshots(nil, s, tree, nil))
	defer diff.Close()
}

func TestArchives(t *testing.T) {
	store, tree := setting(t)
	made := must[*CommitResult](t)(store.Commit(background, tree, "a:1", nil))
	other := must[*Store](t)(Open(filepath.Join(t.TempDir(), "other")))
	defer other.Close()
	for _, format := range []Format{DockerArchive, OCIArchive} {
		var archive bytes.Buffer
		if err := store.Save(background, &archive, format, "a:1"); err != nil {
			t.Fatal(err)
		}
		loaded := must[[]Loaded](t)(other.Load(background, &archive, &LoadOptions{Names: MoveNames}))
		if len(loaded) != 1 || loaded[0].ImageID != made.ImageID {
			t.Fatal(loaded)
		}
	}
	var tar, again bytes.Buffer
	if err := errors.Join(store.Export(background, "a:1", &tar, nil), store.ExportTree(background, tree, &again, nil)); err != nil {
		t.Fatal(err)
	}
	must[*CommitResult](t)(store.Import(background, &tar, "imported:1", &ImportOptions{Changes: []string{"USER 1"}}))
}

type broken struct{ panics bool }

var errBroken = errors.New("broken")

func (b broken) Write([]byte) (int, error) { return b.Read(nil) }

func (b broken) Read([]byte) (int, error) {
	if b.panics {
		panic(errBroken)
	}
	return 0, errBroken
}

func TestStreamsThatFail(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "a:1", nil))
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	defer diff.Close()
	for _, panics := range []bool{false, true} {
		b := broken{panics}
		_, apply := ApplyLayer(background, b, filepath.Join(t.TempDir(), "x"), nil)
		_, layer := WriteLayer(background, diff, b, nil)
		_, load := store.Load(background, b, nil)
		_, imported := store.Import(background, b, "", nil)
		for i, err := range []error{apply, layer, load, imported, store.Save(background, b, "", "a:1"), store.Export(background, "a:1", b, nil)} {
			var panicked *PanicError
			if !errors.Is(err, errBroken) || !errors.Is(err, ErrCallback) || errors.As(err, &panicked) != panics {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	if _, err := ApplyLayer(background, strings.NewReader("no layer, but long enough to be something"), filepath.Join(t.TempDir(), "x"), nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	store, _ := setting(t)
	_, err := store.Image("none:at-all")
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrIO) ||
		e.Code != ErrNotFound || e.Kind != "not-found" || e.Operation == "" || e.Message == "" || e.Hint != "Store.Refs lists what is in the store" {
		t.Fatalf("%#v", err)
	}
	if err := store.Tag("a\x00b", "c"); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	if _, err := store.Commit(background, "/does/not/exist/\xff", "", nil); !errors.As(err, &e) || e.Code != ErrNotFound || !strings.Contains(e.Path, "\xff") {
		t.Fatalf("%#v", err)
	}
	if err := wrap(ffi.TestPanic()); !errors.Is(err, ErrInternal) {
		t.Fatal(err)
	}
}

func TestTextMustBeUTF8(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "a:1", nil))
	_, author := store.Commit(background, tree, "a:2", &CommitOptions{Author: "caf\xe9"})
	_, changes := store.Commit(background, tree, "a:2", &CommitOptions{Changes: []string{"CMD caf\xe9"}})
	_, image := store.Image("caf\xe9")
	_, _, resolve := store.Resolve("caf\xe9")
	_, load := store.Load(background, strings.NewReader(""), &LoadOptions{Names: "caf\xe9"})
	for i, err := range []error{author, changes, image, resolve, load, store.Tag("a:1", "caf\xe9"), store.Untag("caf\xe9")} {
		if !errors.Is(err, ErrInvalidArgument) {
			t.Error(i, err)
		}
	}
	if refs := must[[]Ref](t)(store.Refs()); len(refs) != 1 {
		t.Error(refs)
	}
}

func TestUseAfterClose(t *testing.T) {
	store, tree := setting(t)
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	snapshot := must[*Snapshot](t)(Scan(background, tree, nil))
	for _, err := range []error{diff.Close(), snapshot.Close(), store.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, commit := store.Commit(background, tree, "", nil)
	_, refs := store.Refs()
	_, lookup := snapshot.Lookup("")
	list := []error{commit, refs, lookup, store.Close(), diff.Close(), snapshot.Close()}
	for _, err := range diff.Changes() {
		list = append(list, err)
	}
	for _, err := range snapshot.Entries() {
		list = append(list, err)
	}
	if len(list) != 8 {
		t.Fatal(list)
	}
	for i, err := range list {
		if !errors.Is(err, ErrClosed) || !errors.Is(err, ErrInvalidArgument) {
			t.Error(i, err)
		}
	}
	var none *Store
	if _, err := none.Refs(); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
}

// cancels when it is first read, and goes on giving bytes.
type endless struct{ cancel func() }

func (e endless) Read(p []byte) (int, error) {
	e.cancel()
	time.Sleep(time.Millisecond)
	clear(p)
	return len(p), nil
}

// dribble gives a few bytes at a time, and cancels.
type dribble struct {
	calls  int
	cancel func()
}

func (d *dribble) Read(p []byte) (int, error) {
	if d.calls++; d.calls == 10 {
		d.cancel()
	}
	return copy(p, strings.Repeat("x", 100)), nil
}

func TestCancelledReadersAreLeftAlone(t *testing.T) {
	store, _ := setting(t)
	for name, read := range map[string]func(context.Context, io.Reader) error{
		"import": func(ctx context.Context, r io.Reader) error { _, err := store.Import(ctx, r, "", nil); return err },
		"load":   func(ctx context.Context, r io.Reader) error { _, err := store.Load(ctx, r, nil); return err },
		"list":   func(ctx context.Context, r io.Reader) error { _, err := ListLayer(ctx, r, nil); return err },
	} {
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(background)
		slow := &dribble{cancel: func() { cancel(why) }}
		if err := read(ctx, slow); !errors.Is(err, ErrCancelled) || !errors.Is(err, why) || slow.calls != 10 {
			t.Error(name, slow.calls, err)
		}
	}
}

func TestCancel(t *testing.T) {
	store, tree := setting(t)
	ctx, cancel := context.WithCancelCause(background)
	why := errors.New("why")
	header := "x" + strings.Repeat("\x00", 99) + "0000644\x00" + "0000000\x00" + "0000000\x00" + "77777777777\x00" + "00000000000\x00"
	sum := 8 * 32
	for _, b := range []byte(header + "0") {
		sum += int(b)
	}
	block := header + fmt.Sprintf("%06o\x00 0", sum)
	block += strings.Repeat("\x00", 512-len(block))
	_, err := ApplyLayer(ctx, io.MultiReader(strings.NewReader(block), endless{func() { cancel(why) }}), filepath.Join(t.TempDir(), "x"), nil)
	_, before := store.Commit(ctx, tree, "", nil)
	for _, err := range []error{err, before} {
		if !errors.Is(err, ErrCancelled) || !errors.Is(err, why) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	var seen Progress
	must[*CommitResult](t)(store.Commit(WithProgress(background, func(p Progress) { seen = p }), tree, "a:1", nil))
	if seen.Entries == 0 {
		t.Error(seen)
	}
}

// A function that reports progress spoils what it reports on, however it ends and whatever the operation made of it.
func TestProgressThatFails(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "a:1", nil))
	var archive bytes.Buffer
	if err := store.Save(background, &archive, "", "a:1"); err != nil {
		t.Fatal(err)
	}
	panics := WithProgress(background, func(Progress) { panic(errBroken) })
	exits := WithProgress(background, func(Progress) { runtime.Goexit() })
	for name, ctx := range map[string]context.Context{"panic: broken": panics, "the progress function called runtime.Goexit": exits} {
		// The end of a success, the end of a failure, and the middle: a reader that gives nothing until the context is done.
		_, success := store.Commit(ctx, tree, "a:2", nil)
		_, failure := store.Unpack(ctx, "none:1", filepath.Join(t.TempDir(), "x"), nil)
		cancelled, cancel := context.WithCancel(ctx)
		_, middle := store.Load(cancelled, endless{cancel}, nil)
		for when, err := range map[string]error{"success": success, "failure": failure, "middle": middle} {
			var panicked *PanicError
			if !errors.Is(err, ErrCallback) || !strings.Contains(err.Error(), name) || errors.As(err, &panicked) != (ctx == panics) {
				t.Errorf("%s, %s: %v", name, when, err)
			}
			if (when == "failure") != errors.Is(err, ErrNotFound) {
				t.Errorf("%s, %s: %v", name, when, err)
			}
		}
	}
	// A deadline holds although the goroutine that watched for it is gone.
	ctx, cancel := context.WithCancelCause(exits)
	_, err := store.Load(ctx, endless{func() { cancel(errBroken) }}, nil)
	if !errors.Is(err, ErrCallback) {
		t.Error(err)
	}
}

func TestNumbersThatDoNotFit(t *testing.T) {
	store, tree := setting(t)
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	defer diff.Close()
	level, threads := 1<<40, -5
	_, commitLevel := store.Commit(background, tree, "", &CommitOptions{Level: level})
	_, commitThreads := store.Commit(background, tree, "", &CommitOptions{Threads: threads})
	_, layerLevel := WriteLayer(background, diff, io.Discard, &LayerOptions{Level: level})
	_, layerThreads := WriteLayer(background, diff, io.Discard, &LayerOptions{Threads: threads})
	_, importLevel := store.Import(background, strings.NewReader(""), "", &ImportOptions{Compression: "gzip", Level: level})
	_, importThreads := store.Import(background, strings.NewReader(""), "", &ImportOptions{Threads: threads})
	_, apply := ApplyLayer(background, strings.NewReader(""), t.TempDir(), &ApplyOptions{Threads: threads})
	_, diffThreads := store.DiffTree(background, tree, "", &DiffOptions{Threads: threads})
	_, scan := Scan(background, tree, &ScanOptions{Threads: threads})
	for i, err := range []error{commitLevel, commitThreads, layerLevel, layerThreads, importLevel, importThreads, apply,
		diffThreads, scan} {
		if !errors.Is(err, ErrInvalidArgument) || !strings.Contains(err.Error(), "read argument: ") {
			t.Error(i, err)
		}
	}
}

func TestOwnersForAndFromOtherTools(t *testing.T) {
	store := must[*Store](t)(Open(t.TempDir()))
	defer store.Close()
	tree, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(filepath.Join(tree, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	must[*CommitResult](t)(store.Commit(background, tree, "app:v1", &CommitOptions{Owner: "12:34"}))
	must[*UnpackResult](t)(store.Unpack(background, "app:v1", out, &ApplyOptions{OwnerXattr: "rootlesscontainers"}))
	for source, uid := range map[string]uint32{"rootlesscontainers": 12, "none": 0} {
		snapshot := must[*Snapshot](t)(Scan(background, out, &ScanOptions{Owner: "root", OwnerFrom: source}))
		for entry, err := range snapshot.Entries() {
			if err != nil || entry.UID != uid {
				t.Fatal(source, entry, err)
			}
		}
		snapshot.Close()
	}
	clean := must[*Diff](t)(store.DiffTree(background, out, "auto", nil))
	defer clean.Close()
	if stat, err := clean.Stat(); err != nil || stat != (DiffStat{}) {
		t.Fatal(stat, err)
	}
	_, err := Scan(background, out, &ScanOptions{OwnerFrom: "nobody"})
	if !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
}

func TestContentsAndBytes(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "app:v1", nil))
	image := must[*Image](t)(store.Image("app:v1"))
	defer image.Close()
	contents := must[*Snapshot](t)(image.Contents(background))
	defer contents.Close()
	data := must[[]byte](t)(contents.Bytes())
	copied := must[*Snapshot](t)(SnapshotFromBytes(data))
	defer copied.Close()
	if copied.Len() != contents.Len() || copied.Len() < 3 || !bytes.Equal(must[[]byte](t)(copied.Bytes()), data) {
		t.Fatal(copied.Len(), contents.Len())
	}
	if _, err := SnapshotFromBytes(data[:len(data)-1]); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := store.Save(background, &archive, "", "app:v1"); err != nil {
		t.Fatal(err)
	}
	for _, o := range []LoadOptions{{MaxBytes: 1000}, {MaxEntries: 1}} {
		if _, err := store.Load(background, bytes.NewReader(archive.Bytes()), &o); !errors.Is(err, ErrLimit) {
			t.Fatal(o, err)
		}
		if _, err := store.Import(background, bytes.NewReader(archive.Bytes()), "", &ImportOptions{MaxBytes: o.MaxBytes,
			MaxEntries: o.MaxEntries}); !errors.Is(err, ErrLimit) {
			t.Fatal(o, err)
		}
	}
}

func TestCapsOfListsAndStores(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "app:1", nil))
	diff := must[*Diff](t)(store.DiffTree(background, tree, "scratch", nil))
	defer diff.Close()
	var layer bytes.Buffer
	must[*LayerResult](t)(WriteLayer(background, diff, &layer, nil))
	for _, o := range []ListOptions{{MaxBytes: 1}, {MaxEntries: 1}, {MaxMemory: 1}} {
		if _, err := ListLayer(background, bytes.NewReader(layer.Bytes()), &o); !errors.Is(err, ErrLimit) {
			t.Error(o, err)
		}
	}
	enough := ListOptions{1 << 20, 10, 2, 1 << 20}
	if list, err := ListLayer(background, bytes.NewReader(layer.Bytes()), &enough); err != nil || len(list) != 4 {
		t.Error(list, err)
	}
	path := must[string](t)(store.Path())
	write(t, filepath.Join(tree, "more"), "more")
	for _, o := range []StoreOptions{{MaxDocumentBytes: 100}, {MaxDocumentDepth: 2}, {MaxLayers: 1}, {MaxBlobBytes: 50}} {
		capped := must[*Store](t)(OpenWith(path, &o))
		if _, err := capped.Commit(background, tree, "app:1", nil); !errors.Is(err, ErrLimit) {
			t.Error(o, err)
		}
		if err := capped.Close(); err != nil {
			t.Error(err)
		}
	}
	capped := must[*Store](t)(OpenWith(path, &StoreOptions{MaxDocumentBytes: 1 << 20, MaxDocumentDepth: 64, MaxIndexDepth: 2, MaxLayers: 2, MaxBlobBytes: 1 << 20}))
	defer capped.Close()
	must[*CommitResult](t)(capped.Commit(background, tree, "app:1", nil))
}

// TestLayerIndexes opens a store that is kept without them, and looks at its layout.
func TestLayerIndexes(t *testing.T) {
	_, tree := setting(t)
	path := t.TempDir()
	for _, without := range []bool{true, false} {
		store := must[*Store](t)(OpenWith(path, &StoreOptions{NoLayerIndex: without}))
		defer store.Close()
		if layout := must[string](t)(store.Layout()); layout != filepath.Join(path, "oci") {
			t.Error(layout)
		}
		must[*CommitResult](t)(store.Commit(background, tree, "app:1", &CommitOptions{Base: "scratch", Message: fmt.Sprint(without)}))
		usage := must[*Usage](t)(store.Usage(background))
		if without != (usage.IndexBytes == 0) {
			t.Error(without, usage.IndexBytes)
		}
	}
}

// TestDefectsOnAnyThread has operations panic, at every look at their context in turn, until they get through.
func TestDefectsOnAnyThread(t *testing.T) {
	store, tree := setting(t)
	must[*CommitResult](t)(store.Commit(background, tree, "app:1", nil))
	for name, run := range map[string]func(context.Context) error{
		"scan":   func(ctx context.Context) error { s, err := Scan(ctx, tree, nil); _ = s.Close(); return err },
		"commit": func(ctx context.Context) error { _, err := store.Commit(ctx, tree, "app:2", nil); return err },
		"unpack": func(ctx context.Context) error {
			_, err := store.Unpack(ctx, "app:1", filepath.Join(t.TempDir(), "out"), nil)
			return err
		},
		"export": func(ctx context.Context) error { return store.Export(ctx, "app:1", io.Discard, nil) },
	} {
		panics := 0
		for look := uint64(1); ; look++ {
			before := ffi.LiveHandles()
			err := run(ffi.TestPanicAt(background, look))
			if after := ffi.LiveHandles(); after != before {
				t.Fatal(name, before, after)
			}
			if err == nil {
				break
			}
			if panics++; !errors.Is(err, ErrInternal) || panics > 1000 {
				t.Fatal(name, look, err)
			}
		}
		if panics == 0 {
			t.Error(name)
		}
	}
	if report := must[*FsckResult](t)(store.Fsck(background, FsckBytes)); len(report.Problems) != 0 {
		t.Error(report)
	}
}
