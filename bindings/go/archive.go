package treering

import (
	"context"
	"io"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Format of an archive of images.
type Format string

// The formats.
const (
	DockerArchive Format = "docker-archive"
	OCIArchive    Format = "oci-archive"
)

// Save writes images as one archive, which docker load, podman and skopeo read.
func (s *Store) Save(ctx context.Context, w io.Writer, format Format, references ...string) error {
	return wrap(ffi.SaveArchive(ctx, s.h(), w, references, string(format), ""))
}

// SaveOptions says how images are saved.
type SaveOptions struct {
	// Format of the archive; DockerArchive by default.
	Format Format
	// Platform to save of an image for several; this machine's by default, or all of them in an OCIArchive.
	Platform string
}

// SaveWith writes images as one archive, as [Store.Save] does. Options may be nil.
func (s *Store) SaveWith(ctx context.Context, w io.Writer, options *SaveOptions, references ...string) error {
	o := or(options)
	return wrap(ffi.SaveArchive(ctx, s.h(), w, references, string(o.Format), o.Platform))
}

// Names says what happens to the names of loaded images.
type Names string

// The choices; keep is the default.
const (
	// KeepNames makes it an error when a name stands for another image in the store.
	KeepNames Names = "keep"
	// MoveNames moves it, as docker load does.
	MoveNames Names = "move"
	// IgnoreNames gives images no names.
	IgnoreNames Names = "ignore"
)

// Loaded is one image that was loaded.
type Loaded struct {
	// Name it has in the store; empty when it was loaded without one.
	Name string
	// Manifest is the digest of its manifest, or of its index when it is for several platforms.
	Manifest string
	// ImageID is the digest of its configuration.
	ImageID string
}

// LoadOptions says how an archive is loaded.
type LoadOptions struct {
	// Names says what happens to the names in it; they are kept by default.
	Names Names
	// MaxBytes the archive, and each layer in it, may have uncompressed, MaxEntries how many there may be; 0 for 1 TiB and
	// 100,000.
	MaxBytes, MaxEntries uint64
}

// Load loads every image of an archive, compressed or not. Nothing is visible in the store after an error. Options may be
// nil.
func (s *Store) Load(ctx context.Context, r io.Reader, options *LoadOptions) ([]Loaded, error) {
	o := or(options)
	list, err := ffi.LoadArchive(ctx, s.h(), r, ffi.LoadOptions{Names: string(o.Names), MaxBytes: o.MaxBytes, MaxEntries: o.MaxEntries})
	var out []Loaded
	for _, l := range list {
		out = append(out, Loaded(l))
	}
	return out, wrap(err)
}

// ImportOptions says what image [Store.Import] makes.
type ImportOptions struct {
	// Changes of the configuration, as in [CommitOptions].
	Changes []string
	// Message for the history.
	Message string
	// Author of the image.
	Author string
	// Platform as os/arch[/variant]; this machine's by default.
	Platform string
	// Created is when the image was made; now, when it is zero.
	Created time.Time
	// Compression compresses the layer anew: none, gzip or zstd. By default its bytes stay as they come.
	Compression string
	// Level of the compression; 0 for the default one.
	Level int
	// Threads to use; 0 for one per processor. The result does not depend on it.
	Threads int
	// MaxBytes the tar may have uncompressed, MaxEntries how many there may be; 0 for 256 GiB (and 1 TiB with holes) and ten
	// million.
	MaxBytes, MaxEntries uint64
}

// Import makes an image of a tar of a filesystem, as docker import does. The reference may be empty, for no name.
func (s *Store) Import(ctx context.Context, r io.Reader, reference string, options *ImportOptions) (*CommitResult, error) {
	return committed(ffi.Import(ctx, s.h(), r, reference, ffi.ImportOptions(or(options))))
}

// ExportOptions says how a filesystem is written as a tar.
type ExportOptions struct {
	// Platform of a multi-platform image; this machine's by default.
	Platform string
	// Owner is the owner of the files: root, keep, UID:GID or map:IMAGE:DISK:COUNT[,...].
	Owner string
	// OwnerFrom is another tool's record of owners to go by: none, rootlesscontainers, override-stat or fakeroot:FILE.
	OwnerFrom string
	// Nanoseconds in time stamps; whole seconds by default.
	Nanoseconds bool
	// ClampMtime is what no time stamp is later than, unless it is zero.
	ClampMtime time.Time
	// Threads to use; 0 for one per processor. The result does not depend on it.
	Threads int
}

// Export writes the filesystem of an image as one tar, its layers merged, as docker export does.
func (s *Store) Export(ctx context.Context, reference string, w io.Writer, options *ExportOptions) error {
	return wrap(ffi.Export(ctx, s.h(), reference, "", w, ffi.ExportOptions(or(options))))
}

// ExportTree writes a directory as one tar.
func (s *Store) ExportTree(ctx context.Context, tree string, w io.Writer, options *ExportOptions) error {
	return wrap(ffi.Export(ctx, s.h(), "", tree, w, ffi.ExportOptions(or(options))))
}
