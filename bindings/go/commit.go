package treering

import (
	"context"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// CommitOptions says how a directory becomes an image.
type CommitOptions struct {
	// Base is auto, the default, for the image the directory was unpacked from or last committed to; scratch for nothing;
	// else a reference.
	Base string
	// Compare is how far metadata is trusted: auto, the default; metadata for size and times alone; content for nothing.
	Compare string
	// Owner is the owner of the files: root, keep, UID:GID or map:IMAGE:DISK:COUNT[,...].
	Owner string
	// OwnerFrom is another tool's record of owners to go by: none, rootlesscontainers, override-stat or fakeroot:FILE.
	OwnerFrom string
	// Compression of the layer: none, gzip or zstd; gzip by default.
	Compression string
	// Level of the compression; 0 for the default one.
	Level int
	// Nanoseconds in time stamps; whole seconds by default.
	Nanoseconds bool
	// ClampMtime is what no time stamp in the layer is later than, unless it is zero.
	ClampMtime time.Time
	// Author of the image; the base's by default.
	Author string
	// Message for the history.
	Message string
	// Changes of the configuration, as Dockerfile instructions: CMD, ENV, LABEL and the like.
	Changes []string
	// Created is when the image was made; now, when it is zero.
	Created time.Time
	// Squash puts everything into one layer and drops the base's layers and history.
	Squash bool
	// Platform as os/arch[/variant]; the base's by default, else this machine's.
	Platform string
	// Annotations of the manifest.
	Annotations map[string]string
	// OneFileSystem takes mount points for empty directories.
	OneFileSystem bool
	// Threads to use; 0 for one per processor. The result does not depend on it.
	Threads int
	// Lowers makes the directory the upper one of an overlay over these, topmost first. Needs Base. The files keep their
	// owners by default when root commits it.
	Lowers []string
	// OnlyIfChanged makes no image where nothing changed and nothing is asked for but a name: the base gets the name.
	OnlyIfChanged bool
	// IgnoreTimes lets times say nothing: what differs in its time alone is compared by its content.
	IgnoreTimes bool
	// Exclude has patterns of paths to leave out, as in a .dockerignore: of what is left out nothing changes.
	Exclude []string
	// IgnoreFile is a file of such patterns, which count before those of Exclude.
	IgnoreFile string
}

// CommitResult is what a commit or an import made.
type CommitResult struct {
	// Manifest digest.
	Manifest string
	// ImageID is the digest of the configuration.
	ImageID string
	// HasLayer is false when nothing changed and only the configuration is new.
	HasLayer bool
	// LayerDiffID is the digest of the new layer's tar stream.
	LayerDiffID string
	// LayerDigest is the digest of the new layer's blob.
	LayerDigest string
	// LayerDiffSize is the length of the tar stream, LayerSize that of the blob.
	LayerDiffSize, LayerSize uint64
	// Added, Changed and Deleted paths; a deleted directory counts once.
	Added, Changed, Deleted uint64
	// Bytes in the added and changed regular files.
	Bytes uint64
	// OwnersReplaced is how many entries got another owner than they have on disk.
	OwnersReplaced uint64
	// Notes about what is in the directory and cannot be in a layer.
	Notes []Note
}

func committed(r ffi.CommitResult, err error) (*CommitResult, error) {
	return result(CommitResult{
		Manifest: r.Manifest, ImageID: r.ImageID, HasLayer: r.HasLayer, LayerDiffID: r.LayerDiffID,
		LayerDigest: r.LayerDigest, LayerDiffSize: r.LayerDiffSize, LayerSize: r.LayerSize, Added: r.Added,
		Changed: r.Changed, Deleted: r.Deleted, Bytes: r.Bytes, OwnersReplaced: r.OwnersReplaced, Notes: notes(r.Notes),
	}, err)
}

// Commit makes an image of a directory: what changed since its base becomes a layer. Nothing is visible in the store before
// everything is there. The reference may be empty, for no name, and options may be nil.
func (s *Store) Commit(ctx context.Context, tree, reference string, options *CommitOptions) (*CommitResult, error) {
	return committed(ffi.Commit(ctx, s.h(), tree, reference, ffi.CommitOptions(or(options))))
}

// ApplyOptions says how layers are put into a directory.
type ApplyOptions struct {
	// Threads that create files; 0 for one per processor; at most four either way.
	Threads int
	// DenyLoss makes it ErrLoss when an attribute can be kept nowhere.
	DenyLoss bool
	// Lenient takes whiteouts as old tools wrote them.
	Lenient bool
	// MaxBytes all files of one layer may have, MaxEntries how many there may be; 0 for 1 TiB and ten million.
	MaxBytes, MaxEntries uint64
	// MaxRatio is how many times larger than its blob a layer may get; 0 for 1000.
	MaxRatio uint64
	// Sync makes everything durable before the call returns.
	Sync bool
	// Platform of a multi-platform image, os/arch[/variant]; this machine's by default.
	Platform string
	// OwnerXattr also writes owners into an attribute that other tools read: rootlesscontainers or override-stat.
	OwnerXattr string
}

// UnpackResult is what was unpacked.
type UnpackResult struct {
	// Manifest digest of the image.
	Manifest string
	// Entries of the tree, its root not counted.
	Entries uint64
	// InLedger is for how many of them the store keeps what the disk did not take.
	InLedger uint64
	// Notes about what neither took.
	Notes []Note
}

// Unpack makes the directory, which must not exist or be empty, of an image. After an error there is no half-unpacked tree.
// Options may be nil.
func (s *Store) Unpack(ctx context.Context, reference, dir string, options *ApplyOptions) (*UnpackResult, error) {
	r, err := ffi.Unpack(ctx, s.h(), reference, dir, ffi.ApplyOptions(or(options)))
	return result(UnpackResult{Manifest: r.Manifest, Entries: r.Entries, InLedger: r.InLedger, Notes: notes(r.Notes)}, err)
}
