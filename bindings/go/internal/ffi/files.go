package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"io"
	"unsafe"
)

// StatImage finds an entry of an image, symbolic links followed inside it.
func StatImage(h *Handle, path string, follow bool) (Entry, error) {
	var a arguments
	defer a.free()
	image := (*C.treering_image)(a.use(h))
	p, n := a.bytes(path)
	var out C.treering_entry
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_image_stat(image, p, n, C.bool(follow), nil, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	if a.err != nil {
		return Entry{}, a.err
	}
	// Path and target are there for as long as the argument and the image.
	return entry(&out), nil
}

// ListImage starts a walk over a directory of an image.
func ListImage(h *Handle, path string) (*Handle, error) {
	var a arguments
	defer a.free()
	image := (*C.treering_image)(a.use(h))
	p, n := a.bytes(path)
	var walk *C.treering_walk
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_image_list(image, p, n, nil, &walk, e) })
	if a.err != nil {
		return nil, a.err
	}
	return walkHandle(walk), nil
}

// NextEntries gives at most max entries of a walk, one at least where there are more.
func NextEntries(walk *Handle, max int) ([]Entry, error) {
	return nextEntries(walk, make([]C.treering_entry, max))
}

// Reader reads what the library gives.
type Reader struct{ handle *Handle }

func reader(p *C.treering_reader) *Reader {
	return &Reader{newHandle("reader", unsafe.Pointer(p), func(p unsafe.Pointer) { C.treering_reader_free((*C.treering_reader)(p)) })}
}

// OpenImageFile opens a file of an image.
func OpenImageFile(ctx context.Context, h *Handle, path string) (*Reader, error) {
	var a arguments
	defer a.free()
	image := (*C.treering_image)(a.use(h))
	p, n := a.bytes(path)
	var out *C.treering_reader
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_image_file(image, p, n, c, &out, e)
		})
	}
	if out == nil {
		return nil, a.err
	}
	return reader(out), a.err
}

// Read is that of io.Reader.
func (r *Reader) Read(buffer []byte) (int, error) {
	if len(buffer) == 0 {
		return 0, nil
	}
	var a arguments
	defer a.free()
	p := (*C.treering_reader)(a.use(r.handle))
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_reader_read(p, (*C.uint8_t)(unsafe.SliceData(buffer)), C.size_t(len(buffer)), &n, e)
	})
	if a.err == nil && n == 0 {
		return 0, io.EOF
	}
	return int(n), a.err
}

// Close frees the reader.
func (r *Reader) Close() error { return r.handle.Close() }
