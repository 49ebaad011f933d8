// Package ffi is the only package that uses C: the other files of the module are plain Go.
package ffi

// #include <stdlib.h>
// #include <treering.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// Error is an error object of the library, copied out.
type Error struct {
	Status    int32
	Kind      string
	Operation string
	Path      string
	Message   string
	Text      string
	Hint      string
	Causes    []string
	// ExitCode of a command that failed; -1 for none.
	ExitCode int
	Location *Location
	// Cause is the Go error behind it: of a reader or writer, or of the context.
	Cause error
	// Underlying is the library's own error, where a progress function failed as well.
	Underlying *Error
}

func (e *Error) Error() string { return e.Text }

// Location is a place in a text.
type Location struct {
	File         string
	Line, Column int
	Text         string
}

// Numbers this package makes errors with itself.
const (
	InvalidArgument = int32(C.TREERING_INVALID_ARGUMENT)
	Unsupported     = int32(C.TREERING_UNSUPPORTED)
	Busy            = int32(C.TREERING_BUSY)
	Cancelled       = int32(C.TREERING_CANCELLED)
	Callback        = int32(C.TREERING_CALLBACK)
)

// NewError makes an error of the binding's own.
func NewError(status int32, operation, message string, cause error) *Error {
	return &Error{Status: status, Kind: KindName(status), Operation: operation, Message: message,
		Text: operation + ": " + message, ExitCode: -1, Cause: cause}
}

// KindName is the lower-case name of a status.
func KindName(status int32) string { return C.GoString(C.treering_status_name(C.int32_t(status))) }

// abiError is what every call returns when the library that was loaded is not the one this was compiled for.
var abiError = checkABI(uint32(C.treering_abi_version()))

func checkABI(loaded uint32) error {
	if loaded == C.TREERING_ABI_VERSION {
		return nil
	}
	return NewError(Unsupported, "load library", fmt.Sprintf("libtreering %s has ABI %d, this program was compiled for %d",
		Version(), loaded, C.TREERING_ABI_VERSION), nil)
}

// Version of the library that is loaded.
func Version() string { return C.GoString(C.treering_version()) }

func call(f func(e **C.treering_error) C.treering_status) error {
	if abiError != nil {
		return abiError
	}
	collect()
	var e *C.treering_error
	status := f(&e)
	collect()
	if status == C.TREERING_OK {
		return nil
	}
	return take(int32(status), e)
}

func take(status int32, e *C.treering_error) error {
	if e == nil {
		return NewError(status, "call library", KindName(status), nil)
	}
	defer C.treering_error_free(e)
	out := &Error{
		Status:    status,
		Kind:      C.GoString(C.treering_error_kind(e)),
		Operation: C.GoString(C.treering_error_operation(e)),
		Message:   C.GoString(C.treering_error_message(e)),
		Text:      C.GoString(C.treering_error_text(e)),
		Hint:      C.GoString(C.treering_error_hint_for_go(e)),
		ExitCode:  int(C.treering_error_exit_code(e)),
	}
	var at C.treering_location
	if C.treering_error_location(e, &at, C.size_t(unsafe.Sizeof(at))) {
		out.Location = &Location{File: goString(at.file, at.file_len), Line: int(at.line), Column: int(at.column),
			Text: C.GoString(at.text)}
	}
	var n C.size_t
	if path := C.treering_error_path(e, &n); path != nil {
		out.Path = goString(path, n)
	}
	for i := C.size_t(0); ; i++ {
		cause := C.treering_error_cause(e, i)
		if cause == nil {
			return out
		}
		out.Causes = append(out.Causes, C.GoString(cause))
	}
}

// Progress is what an operation has done so far.
type Progress struct {
	Entries, BytesRead, BytesWritten, BytesTotal uint64
}

type progressKey struct{}

type watcher struct {
	every time.Duration
	call  func(Progress)
}

// WithProgress makes operations with the context report to f.
func WithProgress(ctx context.Context, every time.Duration, f func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, watcher{every, f})
}

// operate runs a long call: the context cancels it, and what watches has ended when it returns.
func operate(ctx context.Context, f func(c *C.treering_control, e **C.treering_error) C.treering_status) error {
	if abiError != nil {
		return abiError
	}
	if ctx.Err() != nil {
		return NewError(Cancelled, "start", "the context is done", why(ctx))
	}
	caller, watching := ctx.Value(progressKey{}).(watcher)
	observe, observed := ctx.Value(eventsKey{}).(func(Event))
	look, panics := ctx.Value(panicKey{}).(uint64)
	if ctx.Done() == nil && !watching && !observed && !panics {
		return call(func(e **C.treering_error) C.treering_status { return f(nil, e) })
	}
	var control *C.treering_control
	if err := call(func(e **C.treering_error) C.treering_status { return C.treering_control_new(&control, e) }); err != nil {
		return err
	}
	defer C.treering_control_free(control)
	if panics {
		panicAt(control, look)
	}

	if observed {
		enable := func(e **C.treering_error) C.treering_status { return C.treering_control_enable_events(control, 0, e) }
		if err := call(enable); err != nil {
			return err
		}
	}
	w := &watch{watcher: caller, observe: observe, ctx: ctx, control: control, stop: make(chan struct{}), ended: make(chan struct{})}
	go w.run()
	err := call(func(e **C.treering_error) C.treering_status { return f(control, e) })
	close(w.stop)
	<-w.ended
	return w.verdict(err)
}

// watch is what goes on beside an operation: the context cancels it, and progress and events go to the caller's functions.
type watch struct {
	watcher
	observe func(Event)
	ctx     context.Context
	control *C.treering_control
	stop    chan struct{}
	ended   chan struct{}
	// failed is what went wrong in a function of the caller's, none of which is called again then.
	failed error
	// calling is what the function that was called last is for: progress or events.
	calling string
}

// functions are the names of the caller's functions.
var functions = map[string]string{"progress": "progress", "events": "event"}

func (w *watch) run() {
	returns := false
	defer func() {
		if returns {
			close(w.ended)
			return
		}
		// Only Goexit comes here. Another goroutine watches on, or a deadline would not hold.
		w.fail(errors.New("the " + functions[w.calling] + " function called runtime.Goexit"))
		go w.run()
	}()
	var tick <-chan time.Time
	if w.call != nil && w.failed == nil {
		ticker := time.NewTicker(w.every)
		defer ticker.Stop()
		tick = ticker.C
	}
	var events <-chan time.Time
	if w.observe != nil && w.failed == nil {
		ticker := time.NewTicker(eventInterval)
		defer ticker.Stop()
		events = ticker.C
	}
	done := w.ctx.Done()
	for {
		if w.failed != nil {
			tick, events = nil, nil
		}
		select {
		case <-done:
			C.treering_control_cancel(w.control, nil)
			done = nil
		case <-tick:
			w.report()
		case <-events:
			w.drain()
		case <-w.stop:
			w.drain()
			w.report()
			returns = true
			return
		}
	}
}

func (w *watch) fail(err error) {
	w.failed = err
	C.treering_control_cancel(w.control, nil)
}

func (w *watch) report() {
	if w.call == nil || w.failed != nil {
		return
	}
	w.calling = "progress"
	if err := guard(func() error { w.call(progress(w.control)); return nil }); err != nil {
		w.fail(err)
	}
}

// verdict is the operation's error in the light of what happened beside it. A broken progress function must not stay hidden
// behind the cancellation it caused, nor behind a success, which it does not undo.
func (w *watch) verdict(err error) error {
	failure, is := err.(*Error)
	if w.failed != nil {
		spoiled := NewError(Callback, "report "+w.calling, w.failed.Error(), w.failed)
		if is && failure.Status != Cancelled {
			spoiled.Underlying = failure
		}
		return spoiled
	}
	if is && failure.Status == Cancelled && w.ctx.Err() != nil {
		failure.Cause = why(w.ctx)
	}
	return err
}

// both are found in what it gives; the second may be in the first.
func both(first, second error) error {
	if errors.Is(first, second) {
		return first
	}
	return errors.Join(first, second)
}

// why is the cause of a context that is done, in which the context's own error is found as well.
func why(ctx context.Context) error {
	return both(context.Cause(ctx), ctx.Err())
}

func progress(control *C.treering_control) (out Progress) {
	var p C.treering_progress
	if C.treering_control_progress(control, &p, C.size_t(unsafe.Sizeof(p)), nil) == C.TREERING_OK {
		out = Progress{uint64(p.entries), uint64(p.bytes_read), uint64(p.bytes_written), uint64(p.bytes_total)}
	}
	return out
}

// PanicError is a panic of a function the caller supplied: it must not unwind through the library.
type PanicError struct {
	Value any
	Stack []byte
}

func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

func guard(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{value, debug.Stack()}
		}
	}()
	return f()
}

// arguments of one call, in C memory for as long as it runs; also the first error that making them met.
type arguments struct {
	memory []unsafe.Pointer
	undo   []func()
	err    error
	// explain puts the error of a function of the caller's behind the one the library makes of it; may be nil.
	explain func(error) error
}

func (a *arguments) free() {
	for _, f := range a.undo {
		f()
	}
	for _, p := range a.memory {
		C.free(p)
	}
}

// text is NULL when it is empty.
func (a *arguments) text(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.always(s)
}

func (a *arguments) always(s string) *C.char {
	if strings.IndexByte(s, 0) >= 0 && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", fmt.Sprintf("%q has a NUL in it", s), nil)
	}
	p := C.CString(s)
	a.memory = append(a.memory, unsafe.Pointer(p))
	return p
}

func (a *arguments) bytes(s string) (*C.uint8_t, C.size_t) {
	if s == "" {
		return nil, 0
	}
	p := C.CBytes([]byte(s))
	a.memory = append(a.memory, p)
	return (*C.uint8_t)(p), C.size_t(len(s))
}

func (a *arguments) slices(list []string) (*C.treering_slice, C.size_t) {
	if len(list) == 0 {
		return nil, 0
	}
	p := C.calloc(C.size_t(len(list)), C.size_t(unsafe.Sizeof(C.treering_slice{})))
	a.memory = append(a.memory, p)
	for i, s := range unsafe.Slice((*C.treering_slice)(p), len(list)) {
		s.data, s.len = a.bytes(list[i])
		unsafe.Slice((*C.treering_slice)(p), len(list))[i] = s
	}
	return (*C.treering_slice)(p), C.size_t(len(list))
}

func (a *arguments) texts(list []string) (**C.char, C.size_t) {
	if len(list) == 0 {
		return nil, 0
	}
	p := C.calloc(C.size_t(len(list)), C.size_t(unsafe.Sizeof(uintptr(0))))
	a.memory = append(a.memory, p)
	for i, s := range list {
		unsafe.Slice((**C.char)(p), len(list))[i] = a.always(s)
	}
	return (**C.char)(p), C.size_t(len(list))
}

// slice is bytes as a structure has them; empty for none.
func (a *arguments) slice(s string) C.treering_slice {
	data, n := a.bytes(s)
	return C.treering_slice{data: data, len: n}
}

// pairs are sorted by key.
func (a *arguments) pairs(m map[string]string) (*C.treering_pair, C.size_t) {
	if len(m) == 0 {
		return nil, 0
	}
	p := C.calloc(C.size_t(len(m)), C.size_t(unsafe.Sizeof(C.treering_pair{})))
	a.memory = append(a.memory, p)
	for i, key := range slices.Sorted(maps.Keys(m)) {
		unsafe.Slice((*C.treering_pair)(p), len(m))[i] = C.treering_pair{key: a.always(key), value: a.always(m[key])}
	}
	return (*C.treering_pair)(p), C.size_t(len(m))
}

// seconds is NULL for the zero time.
func (a *arguments) seconds(t time.Time) *C.int64_t {
	if t.IsZero() {
		return nil
	}
	return a.second(t)
}

// second is never NULL.
func (a *arguments) second(t time.Time) *C.int64_t {
	p := C.malloc(C.size_t(unsafe.Sizeof(C.int64_t(0))))
	a.memory = append(a.memory, p)
	*(*C.int64_t)(p) = C.int64_t(t.Unix())
	return (*C.int64_t)(p)
}

// threads is how many to use; 0 is the library's choice.
func (a *arguments) threads(n int) C.size_t {
	if n < 0 && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", fmt.Sprintf("threads is %d: it must be 0 or more", n), nil)
	}
	return C.size_t(n)
}

// level of a compression. Which ones there are is for the library to say; here it only has to fit.
func (a *arguments) level(n int) C.int32_t {
	if (n < math.MinInt32 || n > math.MaxInt32) && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", fmt.Sprintf("level is %d: out of range", n), nil)
	}
	return C.int32_t(n)
}

// use gives the pointer of a handle and keeps it from being freed until the call is over.
func (a *arguments) use(h *Handle) unsafe.Pointer {
	p, err := h.use()
	if err != nil {
		if a.err == nil {
			a.err = err
		}
		return nil
	}
	a.undo = append(a.undo, h.done)
	return p
}

// optional is use of a handle that may be nil.
func (a *arguments) optional(h *Handle) unsafe.Pointer {
	if h == nil {
		return nil
	}
	return a.use(h)
}

// do makes a call, unless something failed before.
func (a *arguments) do(f func(e **C.treering_error) C.treering_status) {
	if a.err == nil {
		a.err = call(f)
	}
}

func goString(p *C.uint8_t, n C.size_t) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(p)), n))
}

func digest(d *C.treering_digest) string { return C.GoString(&d.text[0]) }

func takeBytes(b *C.treering_bytes) []byte {
	if b == nil {
		return nil
	}
	defer C.treering_bytes_free(b)
	return []byte(goString(C.treering_bytes_data(b), C.treering_bytes_len(b)))
}
