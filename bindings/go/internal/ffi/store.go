package ffi

// #include <stdlib.h>
// #include <treering.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

func storeHandle(p *C.treering_store) *Handle {
	return newHandle("store", unsafe.Pointer(p), func(p unsafe.Pointer) { C.treering_store_free((*C.treering_store)(p)) })
}

func (a *arguments) store(h *Handle) *C.treering_store { return (*C.treering_store)(a.optional(h)) }

// StoreOptions as the public package has them.
type StoreOptions struct {
	MaxDocumentBytes                           uint64
	MaxDocumentDepth, MaxIndexDepth, MaxLayers uint
	MaxBlobBytes                               uint64
	MaxCacheBytes                              uint64
	NoLayerIndex                               bool
}

// OpenStore opens the store at a path.
func OpenStore(path string, o StoreOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	p, n := a.bytes(path)
	options := C.treering_store_options{max_document_bytes: C.uint64_t(o.MaxDocumentBytes),
		max_document_depth: C.size_t(o.MaxDocumentDepth), max_index_depth: C.size_t(o.MaxIndexDepth),
		max_layers: C.size_t(o.MaxLayers), max_blob_bytes: C.uint64_t(o.MaxBlobBytes),
		max_cache_bytes: C.uint64_t(o.MaxCacheBytes), no_layer_index: C.bool(o.NoLayerIndex)}
	var out *C.treering_store
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_store_open(p, n, &options, C.size_t(unsafe.Sizeof(options)), &out, e)
	})
	if a.err != nil {
		return nil, a.err
	}
	return storeHandle(out), nil
}

// OpenDefault opens the user's own store.
func OpenDefault() (*Handle, error) {
	var out *C.treering_store
	err := call(func(e **C.treering_error) C.treering_status { return C.treering_store_open_default(&out, e) })
	if err != nil {
		return nil, err
	}
	return storeHandle(out), nil
}

// StorePath is where a store is.
func StorePath(h *Handle) (string, error) {
	return pathOf(h, func(p *C.treering_store, n *C.size_t) *C.uint8_t { return C.treering_store_path(p, n) })
}

// StoreLayout is where the image layout of a store is.
func StoreLayout(h *Handle) (string, error) {
	return pathOf(h, func(p *C.treering_store, n *C.size_t) *C.uint8_t { return C.treering_store_layout(p, n) })
}

func pathOf(h *Handle, get func(*C.treering_store, *C.size_t) *C.uint8_t) (string, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_store)(a.use(h))
	if a.err != nil {
		return "", a.err
	}
	var n C.size_t
	path := get(p, &n)
	return goString(path, n), nil
}

// Info probes the machine; the store may be nil.
func Info(store *Handle) ([]byte, error) {
	var a arguments
	defer a.free()
	s := a.store(store)
	var out *C.treering_bytes
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_info(s, &out, e) })
	return takeBytes(out), a.err
}

// Fsck checks a store.
func Fsck(ctx context.Context, store *Handle, level string) ([]byte, error) {
	var a arguments
	defer a.free()
	s, l := (*C.treering_store)(a.use(store)), a.text(level)
	var result C.treering_fsck_result
	var json *C.treering_bytes
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_store_fsck(s, l, c, &result, C.size_t(unsafe.Sizeof(result)), &json, e)
		})
	}
	return takeBytes(json), a.err
}

// Usage says what takes the space.
func Usage(ctx context.Context, store *Handle) ([]byte, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	var json *C.treering_bytes
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_store_usage(s, c, &json, e)
		})
	}
	return takeBytes(json), a.err
}

// PruneOptions as the public package has them.
type PruneOptions struct {
	DryRun        bool
	KeepUntagged  bool
	Keep          []string
	Wait          time.Duration
	UnusedNames   bool
	LostTrees     bool
	BuildCache    bool
	AllBuildCache bool
	KeepStorage   uint64
	UnusedFor     time.Duration
}

// milliseconds is NULL for 0, and none for what is negative.
func (a *arguments) milliseconds(d time.Duration) *C.uint64_t {
	if d == 0 {
		return nil
	}
	p := C.malloc(C.size_t(unsafe.Sizeof(C.uint64_t(0))))
	a.memory = append(a.memory, p)
	*(*C.uint64_t)(p) = C.uint64_t(max(d, 0) / time.Millisecond)
	return (*C.uint64_t)(p)
}

// Prune removes what nothing needs.
func Prune(ctx context.Context, store *Handle, o PruneOptions) ([]byte, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	var options C.treering_prune_options
	options.dry_run, options.keep_untagged = C.bool(o.DryRun), C.bool(o.KeepUntagged)
	options.unused_names, options.lost_trees = C.bool(o.UnusedNames), C.bool(o.LostTrees)
	options.keep, options.keep_len = a.texts(o.Keep)
	options.wait = a.milliseconds(o.Wait)
	options.build_cache, options.all_build_cache = C.bool(o.BuildCache), C.bool(o.AllBuildCache)
	options.keep_storage, options.unused_for = C.uint64_t(o.KeepStorage), C.uint64_t(max(o.UnusedFor, 0)/time.Second)
	var result C.treering_prune_result
	var json *C.treering_bytes
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_store_prune(s, &options, C.size_t(unsafe.Sizeof(options)), c, &result, C.size_t(unsafe.Sizeof(result)), &json, e)
		})
	}
	return takeBytes(json), a.err
}

// Ref is one name and what it stands for.
type Ref struct {
	Name, MediaType, Digest string
	Size                    uint64
}

// Refs lists the images of a store.
func Refs(store *Handle) ([]Ref, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	var list *C.treering_refs
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_refs_list(s, &list, e) })
	defer func() { C.treering_refs_free(list) }()
	if a.err != nil {
		return nil, a.err
	}
	buffer := make([]C.treering_ref, C.treering_refs_len(list))
	if len(buffer) == 0 {
		return nil, nil
	}
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_refs_get(list, 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	var out []Ref
	for i := range buffer[:n] {
		r := &buffer[i]
		out = append(out, Ref{Name: C.GoString(r.name), MediaType: C.GoString(r.media_type), Digest: digest(&r.digest),
			Size: uint64(r.size)})
	}
	return out, a.err
}

// Resolve finds what a reference stands for.
func Resolve(store *Handle, reference string) (string, uint64, error) {
	var a arguments
	defer a.free()
	s, r := (*C.treering_store)(a.use(store)), a.always(reference)
	var out C.treering_resolved
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_refs_resolve(s, r, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return digest(&out.digest), uint64(out.size), a.err
}

// Tag names an image.
func Tag(store *Handle, reference, name string) error {
	var a arguments
	defer a.free()
	s, r, n := (*C.treering_store)(a.use(store)), a.always(reference), a.always(name)
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_refs_tag(s, r, n, e) })
	return a.err
}

// Untag takes a name away.
func Untag(store *Handle, name string) error {
	var a arguments
	defer a.free()
	s, n := (*C.treering_store)(a.use(store)), a.always(name)
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_refs_untag(s, n, e) })
	return a.err
}

// Remove takes an image out of the index.
func Remove(store *Handle, reference string) error {
	var a arguments
	defer a.free()
	s, r := (*C.treering_store)(a.use(store)), a.always(reference)
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_refs_remove(s, r, e) })
	return a.err
}
