//go:build cgo && linux

package ffi

import (
	"runtime"
	"sync"
	"unsafe"
)

// Handle owns an object of the library. It counts the calls that use it, so that closing it meanwhile, or losing the last
// reference to it, frees nothing that is still looked at: this is what runtime.KeepAlive would be needed for otherwise.
type Handle struct{ object *object }

type object struct {
	mu      sync.Mutex
	pointer unsafe.Pointer
	users   int
	closed  bool
	free    func(unsafe.Pointer)
	name    string
}

func newHandle(name string, p unsafe.Pointer, free func(unsafe.Pointer)) *Handle {
	h := &Handle{&object{pointer: p, free: free, name: name}}
	// The backstop for a forgotten close.
	runtime.AddCleanup(h, func(o *object) { _ = o.close() }, h.object)
	return h
}

func (h *Handle) use() (unsafe.Pointer, error) {
	if h == nil {
		return nil, NewError(InvalidArgument, "use object", "it was never opened", nil)
	}
	collect()
	o := h.object
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errClosed("use " + o.name)
	}
	o.users++
	return o.pointer, nil
}

func (h *Handle) done() {
	o := h.object
	o.mu.Lock()
	o.users--
	free := o.closed && o.users == 0
	o.mu.Unlock()
	if free {
		o.free(o.pointer)
	}
	runtime.KeepAlive(h)
}

// Close frees the object, after the last call that is using it. Closing twice is an error.
func (h *Handle) Close() error {
	if h == nil {
		return NewError(InvalidArgument, "close object", "it was never opened", nil)
	}
	return h.object.close()
}

func (o *object) close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return errClosed("close " + o.name)
	}
	o.closed = true
	free := o.users == 0
	o.mu.Unlock()
	if free {
		o.free(o.pointer)
	}
	return nil
}

func errClosed(operation string) error {
	return NewError(InvalidArgument, operation, "it is closed", ErrClosed)
}

type closedError struct{}

func (closedError) Error() string { return "already closed" }

// ErrClosed is the cause of errors about objects that were closed.
var ErrClosed error = closedError{}
