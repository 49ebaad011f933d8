package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"errors"
	"io"
	"runtime/cgo"
	"sync"
	"unsafe"
)

// stream is a reader or writer the library calls back into. The library calls from its own threads, one at a time; the lock
// says so to the race detector.
type stream struct {
	mu     sync.Mutex
	ctx    context.Context
	reader io.Reader
	writer io.Writer
	err    error
}

// streaming runs an operation with a stream, and puts the stream's own error behind the one the library makes of it.
func streaming(ctx context.Context, r io.Reader, w io.Writer,
	f func(handle C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status) error {
	s := &stream{ctx: ctx, reader: r, writer: w}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	err := operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return f(C.uintptr_t(handle), c, e)
	})
	return s.explain(err)
}

// explain puts the stream's own error behind the one the library makes of it.
func (s *stream) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failure, is := err.(*Error); is && s.err != nil && failure.Status == Callback && failure.Cause == nil {
		if s.ctx.Err() != nil {
			// The context is done: that is why, also where the stream was closed to unblock it and has an error of its own.
			return NewError(Cancelled, failure.Operation, "cancelled by the caller", both(why(s.ctx), s.err))
		}
		failure.Cause = s.err
		failure.Message = s.err.Error()
		failure.Text = failure.Operation + ": " + failure.Message
	} else if is && s.err != nil && failure.Status == Cancelled && failure.Cause != nil {
		failure.Cause = both(failure.Cause, s.err)
	}
	return err
}

//export treeringGoWrite
func treeringGoWrite(userdata C.uintptr_t, data *C.uint8_t, n C.size_t) C.int32_t {
	s := cgo.Handle(userdata).Value().(*stream)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = guard(func() error {
		if n == 0 || s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		buffer := unsafe.Slice((*byte)(unsafe.Pointer(data)), n)
		written, err := s.writer.Write(buffer)
		if err == nil && written != len(buffer) {
			err = io.ErrShortWrite
		}
		return err
	})
	return code(s.err)
}

//export treeringGoRead
func treeringGoRead(userdata C.uintptr_t, data *C.uint8_t, capacity C.size_t, n *C.size_t) C.int32_t {
	s := cgo.Handle(userdata).Value().(*stream)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = guard(func() error {
		*n = 0
		if capacity == 0 || s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		buffer := unsafe.Slice((*byte)(unsafe.Pointer(data)), capacity)
		for range 100 {
			got, err := s.reader.Read(buffer)
			if got < 0 || got > len(buffer) {
				return errors.New("the reader returned an impossible count")
			}
			*n = C.size_t(got)
			switch {
			case got > 0:
				// An error that came along comes again with the next call, or is the end.
				if err != nil && err != io.EOF {
					return err
				}
				return nil
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			}
		}
		return io.ErrNoProgress
	})
	return code(s.err)
}

func code(err error) C.int32_t {
	if err != nil {
		return 1
	}
	return 0
}
