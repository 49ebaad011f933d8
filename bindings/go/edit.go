package treering

import (
	"context"
	"io"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

const (
	// AllLayers has an edit squash all layers to one.
	AllLayers = -1
)

// EditOptions says how an image becomes another one. The order is always this one: another base, layers dropped, layers appended,
// layers squashed, then the configuration. With nothing set the image gets a name more.
type EditOptions struct {
	// Platform of a multi-platform image; this machine's by default.
	Platform string
	// Rebase is the image that the image is built on, and the one to take its place.
	Rebase *[2]string
	// DropLast is how many of the last layers go.
	DropLast int
	// Append are layers to put on top, the first one first, as [Diff.WriteLayer] writes them.
	Append []io.Reader
	// Squash is how many of the last layers become one, or [AllLayers].
	Squash int
	// Changes of the configuration, as Dockerfile instructions: CMD, ENV, LABEL and the like.
	Changes []string
	// Labels of the configuration, set after Changes, and Annotations of the manifest.
	Labels, Annotations map[string]string
	// Author of the image, that of the old one by default; Message for the history.
	Author, Message string
	// Created is when the image was made; now, when it is zero.
	Created time.Time
	// Compression of a squashed layer: none, gzip or zstd; gzip by default. Level 0 is the default one.
	Compression string
	Level       int
	// MaxRatio is how many times larger than its blob an appended layer may get, beyond 64 MiB and zeros not counted; 0 for 1000.
	MaxRatio uint64
	// Threads to use; 0 for one per processor. The result does not depend on it.
	Threads int
}

// EditResult is what an edit made.
type EditResult struct {
	// Manifest digest.
	Manifest string
	// ImageID is the digest of the configuration.
	ImageID string
	// Layers is how many the image has.
	Layers uint64
	// HasSquashed is whether layers were squashed to one, which the other fields describe.
	HasSquashed bool
	// SquashedDiffID is the digest of that layer's tar stream, SquashedDigest that of its blob.
	SquashedDiffID, SquashedDigest string
	// SquashedDiffSize is the length of the tar stream, SquashedSize that of the blob.
	SquashedDiffSize, SquashedSize uint64
}

// Edit makes an image out of another one, without a directory: other layers, another base, another configuration. Layers that stay are not
// read, and the old image stays as it is. The name may be empty, for none. Options may be nil: then the image gets a name more.
func (s *Store) Edit(ctx context.Context, reference, name string, options *EditOptions) (*EditResult, error) {
	made, err := ffi.Edit(ctx, s.h(), reference, name, ffi.EditOptions(or(options)))
	return result(EditResult(made), err)
}
