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

// LayerEntry is one entry of a layer, as it stands in the tar.
type LayerEntry struct {
	// Path, components joined by slashes; empty for the root. A whiteout is a file .wh.NAME.
	Path string
	// Link is the target of a symbolic link, or the path of the entry that a hard link joins.
	Link string
	// Size of a regular file in bytes.
	Size uint64
	// ModTime is the last change of content.
	ModTime time.Time
	// Kind of file.
	Kind FileKind
	// Mode is the permission bits with setuid, setgid and sticky, as Unix numbers them: 0 to 07777.
	Mode uint32
	// UID and GID of owner and group.
	UID, GID uint32
	// Major and Minor numbers of a device.
	Major, Minor uint32
	// Xattrs are the extended attributes, by name.
	Xattrs map[string]string
}

// ListOptions says how much a layer that is listed may ask for; beyond it is ErrLimit.
type ListOptions struct {
	// MaxBytes is how many bytes all files of the layer may have when written out; 0 for 1 TiB.
	MaxBytes uint64
	// MaxEntries is how many entries the layer may have; 0 for ten million.
	MaxEntries uint64
	// MaxRatio is how many times larger than its blob the layer may get, beyond 64 MiB; 0 for 1000.
	MaxRatio uint64
	// MaxMemory is how many bytes of memory the list may take inside the library; 0 for 1 GiB.
	MaxMemory uint64
}

// ListLayer lists what is in a layer, compressed or not, in its order, without putting it anywhere. The reader is called as
// that of [ApplyLayer]. Options may be nil.
func ListLayer(ctx context.Context, r io.Reader, options *ListOptions) ([]LayerEntry, error) {
	list, err := ffi.ListLayer(ctx, r, ffi.ListOptions(or(options)))
	var out []LayerEntry
	for _, e := range list {
		out = append(out, layerEntry(e))
	}
	return out, wrap(err)
}

func layerEntry(e ffi.LayerEntry) LayerEntry {
	return LayerEntry{Path: e.Path, Link: e.Link, Size: e.Size, ModTime: e.ModTime, Kind: FileKind(e.Kind), Mode: e.Mode,
		UID: e.UID, GID: e.GID, Major: e.Major, Minor: e.Minor, Xattrs: e.Xattrs}
}

// ApplyResult is a layer that was applied.
type ApplyResult struct {
	// DiffID is the digest of the tar stream, Digest that of the blob: compare them with what you expect.
	DiffID, Digest string
	// DiffSize is the length of the tar stream, Size that of the blob.
	DiffSize, Size uint64
	// Entries the tree has now, its root not counted.
	Entries uint64
	// Unkept is for how many entries the disk did not take everything and nothing keeps it: 0 when the store does.
	Unkept uint64
	// Notes about what was lost.
	Notes []Note
}

// ApplyLayer applies a layer, compressed or not, to a directory, which is made when it is not there. After an error the
// directory is in no defined state. The reader is called from other threads, never from two at once; a call that blocks in
// it is cancelled only once the reader returns. Options may be nil.
func ApplyLayer(ctx context.Context, r io.Reader, dir string, options *ApplyOptions) (*ApplyResult, error) {
	return applied(ffi.ApplyLayer(ctx, nil, r, dir, ffi.ApplyOptions(or(options))))
}

// ApplyLayer is [ApplyLayer] to a directory that may have a record in the store: what the disk does not take of owners and the like, the
// store then keeps, as it does for [Store.Unpack].
func (s *Store) ApplyLayer(ctx context.Context, r io.Reader, dir string, options *ApplyOptions) (*ApplyResult, error) {
	if s == nil {
		// Not to be taken for a directory without a store.
		return nil, wrap(s.h().Close())
	}
	return applied(ffi.ApplyLayer(ctx, s.handle, r, dir, ffi.ApplyOptions(or(options))))
}

func applied(a ffi.ApplyResult, err error) (*ApplyResult, error) {
	return result(ApplyResult{DiffID: a.DiffID, Digest: a.Digest, DiffSize: a.DiffSize, Size: a.Size, Entries: a.Entries,
		Unkept: a.Unkept, Notes: notes(a.Notes)}, err)
}
