package ffi

// #include <treering.h>
//
// extern int32_t treeringGoRead(uintptr_t userdata, uint8_t *data, size_t capacity, size_t *n);
// static int32_t read_layer(void *userdata, uint8_t *data, size_t capacity, size_t *n) {
//   return treeringGoRead((uintptr_t)userdata, data, capacity, n);
// }
// static treering_status layer_files(uintptr_t go, const treering_layer_list_options *options, size_t options_size,
//     const treering_control *control, treering_layer_files **out, treering_error **err) {
//   return treering_layer_files_callback(read_layer, (void *)go, NULL, options, options_size, control, out, err);
// }
import "C"

import (
	"context"
	"io"
	"runtime/cgo"
	"time"
	"unsafe"
)

func (a *arguments) list(o ListOptions) C.treering_layer_list_options {
	return C.treering_layer_list_options{max_bytes: C.uint64_t(o.MaxBytes), max_entries: C.uint64_t(o.MaxEntries),
		max_ratio: C.uint64_t(o.MaxRatio), max_memory: C.uint64_t(o.MaxMemory)}
}

func (a *arguments) index(n int) C.size_t {
	if n < 0 && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", "a layer has no number below 0", nil)
	}
	return C.size_t(n)
}

// OpenLayer opens a layer of an image: its blob, or the tar inside.
func OpenLayer(h *Handle, index int, tar bool) (*Reader, error) {
	var a arguments
	defer a.free()
	image, n := (*C.treering_image)(a.use(h)), a.index(index)
	var out *C.treering_reader
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_image_layer(image, n, C.bool(tar), nil, &out, e)
	})
	if a.err != nil {
		return nil, a.err
	}
	return reader(out), nil
}

// LayerFiles gives the entries of a layer, that of a reader or of an image, one after the other. What reads their content is of use
// until yield returns.
func LayerFiles(ctx context.Context, r io.Reader, image *Handle, index int, o ListOptions,
	yield func(entry LayerEntry, content io.Reader) bool) error {
	if ctx.Err() != nil {
		return NewError(Cancelled, "start", "the context is done", why(ctx))
	}
	var a arguments
	defer a.free()
	options := a.list(o)
	var control *C.treering_control
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_control_new(&control, e) })
	defer func() { C.treering_control_free(control) }()
	// A control that was freed meanwhile is refused, not followed.
	stop := context.AfterFunc(ctx, func() { C.treering_control_cancel(control, nil) })
	defer stop()

	var files *C.treering_layer_files
	s := &stream{ctx: ctx, reader: r}
	if r != nil {
		handle := cgo.NewHandle(s)
		defer handle.Delete()
		a.do(func(e **C.treering_error) C.treering_status {
			return C.layer_files(C.uintptr_t(handle), &options, C.size_t(unsafe.Sizeof(options)), control, &files, e)
		})
	} else {
		p, n := (*C.treering_image)(a.use(image)), a.index(index)
		a.do(func(e **C.treering_error) C.treering_status {
			return C.treering_layer_files_image(p, n, &options, C.size_t(unsafe.Sizeof(options)), control, &files, e)
		})
	}
	if a.err != nil {
		return s.ended(a.err)
	}
	h := newHandle("layer files", unsafe.Pointer(files), func(p unsafe.Pointer) {
		C.treering_layer_files_free((*C.treering_layer_files)(p))
	})
	defer h.Close()
	content := &content{s, h}
	for {
		entry, more, err := content.next()
		if err != nil {
			return s.ended(err)
		}
		if !more || !yield(entry, content) {
			return nil
		}
	}
}

// ended is an error in the light of the stream and the context.
func (s *stream) ended(err error) error {
	err = s.explain(err)
	if failure, is := err.(*Error); is && failure.Status == Cancelled && failure.Cause == nil && s.ctx.Err() != nil {
		failure.Cause = why(s.ctx)
	}
	return err
}

// content reads that of the present entry.
type content struct {
	stream *stream
	files  *Handle
}

func (c *content) next() (out LayerEntry, found bool, err error) {
	var a arguments
	defer a.free()
	p := (*C.treering_layer_files)(a.use(c.files))
	var e C.treering_layer_entry
	var more C.bool
	a.do(func(err **C.treering_error) C.treering_status {
		return C.treering_layer_files_next(p, &e, C.size_t(unsafe.Sizeof(e)), &more, err)
	})
	if a.err != nil || !bool(more) {
		return out, false, a.err
	}
	out = LayerEntry{Path: goString(e.path, e.path_len), Link: goString(e.link, e.link_len), Size: uint64(e.size),
		ModTime: time.Unix(int64(e.mtime_secs), int64(e.mtime_nanos)), Kind: int32(e.kind), Mode: uint32(e.mode),
		UID: uint32(e.uid), GID: uint32(e.gid), Major: uint32(e.rdev_major), Minor: uint32(e.rdev_minor)}
	if e.xattrs > 0 {
		buffer := make([]C.treering_xattr, e.xattrs)
		var n C.size_t
		a.do(func(err **C.treering_error) C.treering_status {
			return C.treering_layer_files_xattrs(p, 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, err)
		})
		out.Xattrs = xattrs(buffer[:n])
	}
	return out, true, a.err
}

// Read is that of io.Reader.
func (c *content) Read(buffer []byte) (int, error) {
	if len(buffer) == 0 {
		return 0, nil
	}
	var a arguments
	defer a.free()
	p := (*C.treering_layer_files)(a.use(c.files))
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_layer_files_read(p, (*C.uint8_t)(unsafe.SliceData(buffer)), C.size_t(len(buffer)), &n, e)
	})
	if a.err != nil {
		return int(n), c.stream.ended(a.err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}
