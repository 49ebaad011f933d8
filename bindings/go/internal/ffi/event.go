package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// Event is something that happened during an operation.
type Event struct {
	Kind                        int32
	Step, Place, Places, Stream int
	Stage, Text, Rule, Digest   string
	Output                      []byte
	Bytes, BytesTotal           uint64
	Took                        time.Duration
	Location                    *Location
}

type eventsKey struct{}

// eventInterval is how often events are looked for.
const eventInterval = 20 * time.Millisecond

// WithEvents makes operations with the context give their events to f.
func WithEvents(ctx context.Context, f func(Event)) context.Context {
	return context.WithValue(ctx, eventsKey{}, f)
}

// EventsOf is the function that a context has for events; nil for none.
func EventsOf(ctx context.Context) func(Event) {
	f, _ := ctx.Value(eventsKey{}).(func(Event))
	return f
}

// drain gives the events that are there to the caller's function.
func (w *watch) drain() {
	for w.observe != nil && w.failed == nil {
		event, more := nextEvent(w.control)
		if !more {
			return
		}
		w.calling = "events"
		if err := guard(func() error { w.observe(event); return nil }); err != nil {
			w.fail(err)
		}
	}
}

func nextEvent(control *C.treering_control) (Event, bool) {
	var handle *C.treering_event
	var e C.treering_event_data
	status := C.treering_control_next_event(control, 0, &handle, &e, C.size_t(unsafe.Sizeof(e)), nil)
	if status != C.TREERING_OK || handle == nil {
		return Event{}, false
	}
	defer C.treering_event_free(handle)
	out := Event{
		Kind: int32(e.kind), Step: int(e.step), Place: int(e.place), Places: int(e.places), Stream: int(e.stream),
		Stage: C.GoString(e.stage), Text: C.GoString(e.text), Rule: C.GoString(e.rule), Digest: C.GoString(e.digest),
		Bytes: uint64(e.bytes), BytesTotal: uint64(e.bytes_total), Took: time.Duration(e.milliseconds) * time.Millisecond,
	}
	if e.output_len > 0 {
		out.Output = []byte(goString(e.output, e.output_len))
	}
	if e.line > 0 {
		out.Location = &Location{File: goString(e.file, e.file_len), Line: int(e.line), Column: int(e.column),
			Text: C.GoString(e.line_text)}
	}
	return out, true
}
