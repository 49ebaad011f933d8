package ffi

// #include <stdlib.h>
// #include <treering.h>
//
// extern int32_t treeringGoRead(uintptr_t userdata, uint8_t *data, size_t capacity, size_t *n);
//
// static int32_t from_reader(void *userdata, uint8_t *data, size_t capacity, size_t *n) {
//   return treeringGoRead((uintptr_t)userdata, data, capacity, n);
// }
//
// static treering_input reader_input(uintptr_t handle) {
//   treering_input from = {from_reader, (void *)handle, -1};
//   return from;
// }
import "C"

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime/cgo"
	"time"
	"unsafe"
)

// EditOptions as the public package has them.
type EditOptions struct {
	Platform            string
	Rebase              *[2]string
	DropLast            int
	Append              []io.Reader
	Squash              int
	Changes             []string
	Labels, Annotations map[string]string
	Author, Message     string
	Created             time.Time
	Compression         string
	Level               int
	MaxRatio            uint64
	Threads             int
}

// inputs are streams that the library reads from, and what gives their errors.
func (a *arguments) inputs(ctx context.Context, readers []io.Reader) (*C.treering_input, C.size_t, []*stream) {
	if len(readers) == 0 {
		return nil, 0, nil
	}
	p := C.calloc(C.size_t(len(readers)), C.size_t(unsafe.Sizeof(C.treering_input{})))
	a.memory = append(a.memory, p)
	streams := make([]*stream, len(readers))
	for i, reader := range readers {
		streams[i] = &stream{ctx: ctx, reader: reader}
		handle := cgo.NewHandle(streams[i])
		a.undo = append(a.undo, handle.Delete)
		unsafe.Slice((*C.treering_input)(p), len(readers))[i] = C.reader_input(C.uintptr_t(handle))
	}
	return (*C.treering_input)(p), C.size_t(len(readers)), streams
}

func (a *arguments) count(n int, what string) int {
	if (n < -1 || n > math.MaxInt32) && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", fmt.Sprintf("%s is %d: out of range", what, n), nil)
	}
	return n
}

func (a *arguments) edit(ctx context.Context, o EditOptions) (p C.treering_edit_options, streams []*stream) {
	p.platform, p.author, p.message = a.text(o.Platform), a.text(o.Author), a.text(o.Message)
	if o.Rebase != nil {
		rebase := (*C.treering_pair)(C.malloc(C.size_t(unsafe.Sizeof(C.treering_pair{}))))
		a.memory = append(a.memory, unsafe.Pointer(rebase))
		*rebase = C.treering_pair{key: a.always(o.Rebase[0]), value: a.always(o.Rebase[1])}
		p.rebase = rebase
	}
	if a.count(o.DropLast, "DropLast") == -1 && a.err == nil {
		a.err = NewError(InvalidArgument, "read argument", "DropLast is -1: it must be 0 or more", nil)
	}
	p.drop_last, p.squash = C.size_t(o.DropLast), C.int32_t(a.count(o.Squash, "Squash"))
	p.append, p.append_len, streams = a.inputs(ctx, o.Append)
	p.changes, p.changes_len = a.texts(o.Changes)
	p.labels, p.labels_len = a.pairs(o.Labels)
	p.annotations, p.annotations_len = a.pairs(o.Annotations)
	p.created, p.compression, p.level = a.seconds(o.Created), a.text(o.Compression), a.level(o.Level)
	p.max_ratio, p.threads = C.uint64_t(o.MaxRatio), a.threads(o.Threads)
	return p, streams
}

// EditResult is what an edit made.
type EditResult struct {
	Manifest, ImageID              string
	Layers                         uint64
	HasSquashed                    bool
	SquashedDiffID, SquashedDigest string
	SquashedDiffSize, SquashedSize uint64
}

// Edit makes an image out of another one.
func Edit(ctx context.Context, store *Handle, reference, name string, o EditOptions) (EditResult, error) {
	var a arguments
	defer a.free()
	s, r, n := (*C.treering_store)(a.use(store)), a.always(reference), a.text(name)
	options, streams := a.edit(ctx, o)
	var out C.treering_edit_result
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_edit(s, r, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out, C.size_t(unsafe.Sizeof(out)), e)
		})
	}
	for _, stream := range streams {
		a.err = stream.explain(a.err)
	}
	return EditResult{Manifest: digest(&out.manifest), ImageID: digest(&out.image_id), Layers: uint64(out.layers),
		HasSquashed: bool(out.has_squashed), SquashedDiffID: digest(&out.squashed_diff_id),
		SquashedDigest: digest(&out.squashed_digest), SquashedDiffSize: uint64(out.squashed_diff_size),
		SquashedSize: uint64(out.squashed_size)}, a.err
}
