package ffi

// #include <treering.h>
//
// // Hooks for tests: the library exports them, and its header does not declare them.
// extern treering_status treering_test_panic(treering_error **err);
// extern treering_status treering_test_panic_at(const treering_control *control, uint64_t look, treering_error **err);
// extern treering_status treering_test_error(treering_error **err);
// extern treering_status treering_test_events(const treering_control *control, treering_error **err);
// extern size_t treering_test_live_handles(void);
import "C"

import "context"

// LiveHandles is the library's own count of objects, for tests.
func LiveHandles() int { return int(C.treering_test_live_handles()) }

// TestPanic panics inside the library, for tests.
func TestPanic() error {
	return call(func(e **C.treering_error) C.treering_status { return C.treering_test_panic(e) })
}

// TestPanicAt makes operations with the context panic inside the library, for tests: at the look-th time that one of its
// threads looks whether it was cancelled.
func TestPanicAt(ctx context.Context, look uint64) context.Context {
	return context.WithValue(ctx, panicKey{}, look)
}

type panicKey struct{}

func panicAt(control *C.treering_control, look uint64) {
	C.treering_test_panic_at(control, C.uint64_t(look), nil)
}

// TestError fails as a command in a Dockerfile does, for tests.
func TestError() error {
	return call(func(e **C.treering_error) C.treering_status { return C.treering_test_error(e) })
}

// TestEvents is an operation that sends one event of each kind, for tests.
func TestEvents(ctx context.Context) error {
	return operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_test_events(c, e)
	})
}
