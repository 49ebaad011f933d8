package treering

import (
	"context"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// EventKind is what happened.
type EventKind int32

// The kinds. A program should pass over those it does not have.
const (
	// StepStarted has Text, and where there are such, Stage, Place of Places, and the Location of the instruction.
	StepStarted EventKind = 1
	// StepCached means that the result came out of the cache; StepFinished follows.
	StepCached EventKind = 2
	// StepOutput has Output that the command of the step wrote to Stream.
	StepOutput EventKind = 3
	// OutputDropped means that Bytes of output were dropped: f was too slow, or there were too many.
	OutputDropped EventKind = 4
	// StepFinished after Took, with a layer of Bytes, or 0 for none.
	StepFinished EventKind = 5
	// BlobTransfer of a blob from or to a registry: Digest, Bytes so far, BytesTotal, which is 0 while unknown.
	BlobTransfer EventKind = 6
	// Warning has Text, and where there is one, the name of the Rule and the Location. Nothing failed.
	Warning EventKind = 7
	// StepFailed has Text. The operation fails as well.
	StepFailed EventKind = 8
)

// Event is something that happened during an operation. What its kind does not have is zero.
type Event struct {
	// Kind says what happened.
	Kind EventKind
	// Step is the number of the step, unique in its operation.
	Step int
	// Place of the step in its stage, counted from 1, and how many steps the stage has.
	Place, Places int
	// Stream is 1 for standard output and 2 for standard error.
	Stream int
	// Stage of a build: its name or number.
	Stage string
	// Text says what the step does, what is wrong, or why it failed, in one line.
	Text string
	// Rule is the name of the check that warns.
	Rule string
	// Digest of a blob.
	Digest string
	// Output as it came, not cut at lines.
	Output []byte
	// Bytes and BytesTotal: see the kinds.
	Bytes, BytesTotal uint64
	// Took is how long the step took.
	Took time.Duration
	// Location in a Dockerfile; nil where there is none.
	Location *Location
}

// WithEvents makes every operation that is given the context call f with what happens during it, in order and up to its end. f is
// called by one goroutine per operation, the one of [WithProgress], and never after the operation has returned. A panic in it
// counts as one in a progress function.
func WithEvents(ctx context.Context, f func(Event)) context.Context {
	return ffi.WithEvents(ctx, receive(f))
}

// addEvents is WithEvents with what the context has already.
func addEvents(ctx context.Context, f func(Event)) context.Context {
	before, own := ffi.EventsOf(ctx), receive(f)
	if before == nil {
		return ffi.WithEvents(ctx, own)
	}
	return ffi.WithEvents(ctx, func(e ffi.Event) {
		before(e)
		own(e)
	})
}

func receive(f func(Event)) func(ffi.Event) {
	return func(e ffi.Event) {
		f(Event{
			Kind: EventKind(e.Kind), Step: e.Step, Place: e.Place, Places: e.Places, Stream: e.Stream, Stage: e.Stage,
			Text: e.Text, Rule: e.Rule, Digest: e.Digest, Output: e.Output, Bytes: e.Bytes, BytesTotal: e.BytesTotal,
			Took: e.Took, Location: (*Location)(e.Location),
		})
	}
}
