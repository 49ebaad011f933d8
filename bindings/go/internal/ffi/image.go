package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"unsafe"
)

// OpenImage opens an image.
func OpenImage(store *Handle, reference, platform string) (*Handle, error) {
	var a arguments
	defer a.free()
	s, r, p := (*C.treering_store)(a.use(store)), a.always(reference), a.text(platform)
	var out *C.treering_image
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_image_open(s, r, p, &out, e) })
	if a.err != nil {
		return nil, a.err
	}
	return newHandle("image", unsafe.Pointer(out), func(p unsafe.Pointer) { C.treering_image_free((*C.treering_image)(p)) }), nil
}

// Layer of an image.
type Layer struct {
	Digest, DiffID string
	Size           uint64
	MediaType      string
}

// ImageFacts is what of an image never fails once it is open.
type ImageFacts struct {
	ID, Digest, Platform string
	Size                 uint64
	Manifest, Config     []byte
	Layers               []Layer
}

// ReadImage reads it.
func ReadImage(h *Handle) (ImageFacts, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_image)(a.use(h))
	if a.err != nil {
		return ImageFacts{}, a.err
	}
	id, manifest := C.treering_image_id(p), C.treering_image_digest(p)
	out := ImageFacts{ID: digest(&id), Digest: digest(&manifest), Platform: C.GoString(C.treering_image_platform(p)),
		Size: uint64(C.treering_image_size(p))}
	var n C.size_t
	data := C.treering_image_manifest(p, &n)
	out.Manifest = []byte(goString(data, n))
	data = C.treering_image_config(p, &n)
	out.Config = []byte(goString(data, n))
	buffer := make([]C.treering_layer, C.treering_image_layer_count(p)+1)
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_image_layers(p, 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	if a.err != nil {
		return ImageFacts{}, a.err
	}
	for i := range buffer[:n] {
		l := &buffer[i]
		out.Layers = append(out.Layers, Layer{Digest: digest(&l.digest), DiffID: digest(&l.diff_id), Size: uint64(l.size),
			MediaType: C.GoString(l.media_type)})
	}
	return out, nil
}

// ImageReport is what an image consists of, as JSON or as a page.
func ImageReport(ctx context.Context, h *Handle, html bool) ([]byte, error) {
	var a arguments
	defer a.free()
	image := (*C.treering_image)(a.use(h))
	var out *C.treering_bytes
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_image_report(image, C.bool(html), c, &out, e)
		})
	}
	return takeBytes(out), a.err
}

// ImageJSON is the history of an image, or what inspecting it prints.
func ImageJSON(h *Handle, history bool) ([]byte, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_image)(a.use(h))
	var out *C.treering_bytes
	a.do(func(e **C.treering_error) C.treering_status {
		if history {
			return C.treering_image_history(p, &out, e)
		}
		return C.treering_image_inspect(p, &out, e)
	})
	return takeBytes(out), a.err
}
