package treering

import (
	"context"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

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
