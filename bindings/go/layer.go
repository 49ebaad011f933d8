package treering

import (
	"context"
	"io"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// LayerOptions says how a layer is written.
type LayerOptions struct {
	// Compression: none, gzip or zstd; gzip by default.
	Compression string
	// Level of the compression; 0 for the default one.
	Level int
	// Nanoseconds in time stamps; whole seconds by default.
	Nanoseconds bool
	// ClampMtime is what no time stamp is later than, unless it is zero.
	ClampMtime time.Time
	// Threads to use; 0 for one per processor.
	Threads int
}

// LayerResult is a layer that was written.
type LayerResult struct {
	// DiffID is the digest of the tar stream, Digest that of the blob.
	DiffID, Digest string
	// DiffSize is the length of the tar stream, Size that of the blob.
	DiffSize, Size uint64
	// Entries in the tar.
	Entries uint64
}

// WriteLayer writes the layer that makes the old tree of a diff into the new one. After an error what was written is a
// useless prefix. The writer is called from other threads, never from two at once; a call that blocks in it is cancelled
// only once the writer returns. Options may be nil.
func WriteLayer(ctx context.Context, diff *Diff, w io.Writer, options *LayerOptions) (*LayerResult, error) {
	r, err := ffi.WriteLayer(ctx, diff.h(), w, ffi.LayerOptions(or(options)))
	return result(LayerResult(r), err)
}

// ApplyResult is a layer that was applied.
type ApplyResult struct {
	// DiffID is the digest of the tar stream, Digest that of the blob: compare them with what you expect.
	DiffID, Digest string
	// DiffSize is the length of the tar stream, Size that of the blob.
	DiffSize, Size uint64
	// Entries the tree has now, its root not counted.
	Entries uint64
	// Unkept is for how many entries the disk did not take everything.
	Unkept uint64
	// Notes about what was lost.
	Notes []Note
}

// ApplyLayer applies a layer, compressed or not, to a directory, which is made when it is not there. After an error the
// directory is in no defined state. The reader is called from other threads, never from two at once; a call that blocks in
// it is cancelled only once the reader returns. Options may be nil.
func ApplyLayer(ctx context.Context, r io.Reader, dir string, options *ApplyOptions) (*ApplyResult, error) {
	a, err := ffi.ApplyLayer(ctx, r, dir, ffi.ApplyOptions(or(options)))
	return result(ApplyResult{a.DiffID, a.Digest, a.DiffSize, a.Size, a.Entries, a.Unkept, notes(a.Notes)}, err)
}
