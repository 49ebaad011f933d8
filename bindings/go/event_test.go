package treering

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

func TestALoggerHearsOfWarnings(t *testing.T) {
	var text strings.Builder
	logger := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))
	called := 0
	ctx := WithLogger(WithEvents(background, func(Event) { called++ }), logger)
	if err := ffi.TestEvents(ctx); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 2 || called != 8 {
		t.Fatalf("%d calls: %s", called, text.String())
	}
	for i, part := range []string{`level=ERROR msg="the command failed" step=1`, `level=WARN msg="a stage has capitals" rule=StageNameCasing file=Dockerfile line=3`} {
		if !strings.Contains(lines[i], part) {
			t.Errorf("%s: %s", part, lines[i])
		}
	}
	text.Reset()
	logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := ffi.TestEvents(WithLogger(background, logger)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n != 7 {
		t.Fatal(text.String())
	}
}

func TestEventsComeInOrder(t *testing.T) {
	var seen []Event
	ctx := WithEvents(background, func(e Event) { seen = append(seen, e) })
	if err := ffi.TestEvents(ctx); err != nil {
		t.Fatal(err)
	}
	place := &Location{File: "Dockerfile", Line: 3, Column: 5, Text: "RUN make"}
	expected := []Event{
		{Kind: StepStarted, Step: 1, Stage: "build", Place: 2, Places: 3, Text: "RUN make", Location: place},
		{Kind: StepOutput, Step: 1, Stream: 2, Output: []byte("caf\xe9\n")},
		{Kind: OutputDropped, Step: 1, Bytes: 10},
		{Kind: StepFailed, Step: 1, Text: "the command failed"},
		{Kind: BlobTransfer, Step: 2, Digest: "sha256:" + strings.Repeat("ab", 32), Bytes: 5, BytesTotal: 50},
		{Kind: StepCached, Step: 2},
		{Kind: StepFinished, Step: 2, Took: 1500 * time.Millisecond, Bytes: 20},
		{Kind: Warning, Rule: "StageNameCasing", Text: "a stage has capitals", Location: place},
	}
	if !reflect.DeepEqual(seen, expected) {
		t.Fatalf("%+v", seen)
	}
	// Without a function nothing is queued.
	if err := ffi.TestEvents(background); err != nil {
		t.Fatal(err)
	}
}

func TestAnEventFunctionThatPanics(t *testing.T) {
	calls, why := 0, errors.New("why")
	ctx := WithEvents(background, func(Event) { calls++; panic(why) })
	err := wrap(ffi.TestEvents(ctx))
	var panicked *PanicError
	if !errors.Is(err, ErrCallback) || !errors.Is(err, why) || !errors.As(err, &panicked) || calls != 1 {
		t.Fatal(calls, err)
	}
}

func TestErrorsHaveExitCodeAndLocation(t *testing.T) {
	var e *Error
	err := wrap(ffi.TestError())
	if !errors.Is(err, ErrCommandFailed) || !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e.Kind != "command-failed" || e.ExitCode != 7 || *e.Location != (Location{"Dockerfile", 3, 5, "RUN make"}) {
		t.Fatalf("%+v", e)
	}
	_, err = Scan(background, "/none/such", nil)
	if !errors.As(err, &e) || e.ExitCode != -1 || e.Location != nil {
		t.Fatalf("%+v", e)
	}
	for code, name := range map[Code]string{ErrCommandFailed: "command-failed", ErrNetwork: "network",
		ErrUnauthorized: "unauthorized", ErrSyntax: "syntax"} {
		if code.Error() != "treering: "+name {
			t.Error(code, name)
		}
	}
}

// A reader that blocks is unblocked by closing it when the context ends, and then fails with an error of its own.
func TestADeadlineWhileAReaderIsClosed(t *testing.T) {
	store, _ := setting(t)
	for _, read := range []func(context.Context, io.Reader) error{
		func(ctx context.Context, r io.Reader) error { _, err := ListLayer(ctx, r, nil); return err },
		func(ctx context.Context, r io.Reader) error { _, err := store.Load(ctx, r, nil); return err },
		func(ctx context.Context, r io.Reader) error { _, err := store.Import(ctx, r, "", nil); return err },
		func(ctx context.Context, r io.Reader) error {
			_, err := ApplyLayer(ctx, r, t.TempDir(), nil)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		stop := context.AfterFunc(ctx, func() { _ = r.Close() })
		err = read(ctx, r)
		if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		var e *Error
		if !errors.As(err, &e) || e.Kind != "cancelled" {
			t.Errorf("%+v", e)
		}
		stop()
		cancel()
		_ = w.Close()
	}
}

func TestDirectoriesByDescriptor(t *testing.T) {
	dir := t.TempDir()
	store, err := Open(dir + "/store")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := os.MkdirAll(dir+"/tree/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := os.Open(dir + "/tree")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := os.Rename(dir+"/tree", dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Commit(background, Descriptor(tree.Fd()), "app:v1", nil); err != nil {
		t.Fatal(err)
	}
	diff, err := store.DiffTree(background, dir+"/moved", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer diff.Close()
	if stat, err := diff.Stat(); err != nil || stat != (DiffStat{}) {
		t.Fatal(stat, err)
	}
}
