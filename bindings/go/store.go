package treering

import (
	"context"
	"encoding/json"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Store is an OCI image layout and what treering keeps beside it. Any number of goroutines and processes may use it at
// once. Images, snapshots and diffs made from it do not need it to stay open.
type Store struct{ handle *ffi.Handle }

// StoreOptions says how much what is in a store may ask for, beyond which is ErrLimit, and what the store keeps to save time. 0
// stands for the default.
type StoreOptions struct {
	// MaxDocumentBytes is how many bytes an index, manifest or configuration may have; 4 MiB by default.
	MaxDocumentBytes uint64
	// MaxDocumentDepth is how deep arrays and objects may be nested in one of those; 64 by default, 127 at most.
	MaxDocumentDepth uint
	// MaxIndexDepth is how many indexes may lie inside one another, index.json counted; 4 by default.
	MaxIndexDepth uint
	// MaxLayers is how many layers an image may have; 512 by default.
	MaxLayers uint
	// MaxBlobBytes is how many bytes a blob that is written may have; there is no cap by default.
	MaxBlobBytes uint64
	// MaxCacheBytes is how much records of builds may take, with the layers that nothing else needs; 20 GiB by default.
	MaxCacheBytes uint64
	// NoLayerIndex makes no indexes of layers, which take at most 1% of their blobs and have files read without the layer before
	// them. Those that are there are used.
	NoLayerIndex bool
}

// Open opens the store at a path, creating whatever is missing.
func Open(path string) (*Store, error) { return OpenWith(path, nil) }

// OpenWith is [Open] with options, which may be nil.
func OpenWith(path string, options *StoreOptions) (*Store, error) {
	handle, err := ffi.OpenStore(path, ffi.StoreOptions(or(options)))
	return result(Store{handle}, err)
}

// OpenDefault opens the user's store: $TREERING_ROOT, else $XDG_DATA_HOME/treering, else $HOME/.local/share/treering.
func OpenDefault() (*Store, error) {
	handle, err := ffi.OpenDefault()
	return result(Store{handle}, err)
}

// Close closes the store. Calls that are using it go on undisturbed; later ones, and a second Close, are errors.
func (s *Store) Close() error { return wrap(s.h().Close()) }

func (s *Store) h() *ffi.Handle {
	if s == nil {
		return nil
	}
	return s.handle
}

// Path is the root directory of the store, absolute.
func (s *Store) Path() (string, error) {
	path, err := ffi.StorePath(s.h())
	return path, wrap(err)
}

// Layout is the OCI image layout of the store, absolute. Other tools read it as it is and must not write to it, since they take none
// of the store's locks.
func (s *Store) Layout() (string, error) {
	path, err := ffi.StoreLayout(s.h())
	return path, wrap(err)
}

// Info is [Info] with the store: what its filesystem can do, and what it holds.
func (s *Store) Info() (*Machine, error) {
	if s == nil {
		// Not to be taken for a question without a store.
		return nil, wrap(s.h().Close())
	}
	return decode[Machine](ffi.Info(s.handle))
}

// FsckLevel is how thoroughly [Store.Fsck] looks.
type FsckLevel string

// The levels; each includes those before it.
const (
	FsckStructure    FsckLevel = "structure"
	FsckReachability FsckLevel = "reachability"
	FsckBytes        FsckLevel = "bytes"
)

// FsckResult is what a check found; a sound store has no problems.
type FsckResult struct {
	Problems []Problem `json:"problems"`
	// Blobs looked at.
	Blobs uint64 `json:"blobs"`
	// Bytes hashed.
	Bytes uint64 `json:"bytes"`
}

// Problem is one thing that is wrong with a store.
type Problem struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// Fsck checks the store without changing it. What is wrong with the store is no error of the call.
func (s *Store) Fsck(ctx context.Context, level FsckLevel) (*FsckResult, error) {
	data, err := ffi.Fsck(ctx, s.h(), string(level))
	return decode[FsckResult](data, err)
}

// PruneOptions says what [Store.Prune] shall do.
type PruneOptions struct {
	// DryRun only reports what would go.
	DryRun bool
	// KeepUntagged keeps images that have no name.
	KeepUntagged bool
	// Keep these digests and what they refer to, besides everything that is named or that a tree was made from.
	Keep []string
	// Wait for writers to finish before giving up with ErrBusy: 10 seconds when 0, not at all when negative.
	Wait time.Duration
	// UnusedNames takes the names of images away that no tree was made from, and with them these images.
	UnusedNames bool
	// LostTrees forgets trees that are not where they were, with the owners and devices the disk could not hold.
	LostTrees bool
	// BuildCache removes records of build steps that hold layers which no image needs, AllBuildCache all records. Those used
	// last stay, up to KeepStorage bytes with their layers, and those used within UnusedFor.
	BuildCache    bool
	AllBuildCache bool
	KeepStorage   uint64
	UnusedFor     time.Duration
}

// PruneResult is what a prune removed, or would remove.
type PruneResult struct {
	// Images without a name that went, Blobs the digests of files.
	Images []string `json:"images"`
	Blobs  []string `json:"blobs"`
	// Layers are the DiffIDs that lost their lists.
	Layers []string `json:"layers"`
	// Records is how many records of build steps went.
	Records uint64 `json:"records"`
	// Leftovers is how many files dead writers had left.
	Leftovers uint64 `json:"leftovers"`
	// Bytes all of it took on disk.
	Bytes uint64 `json:"bytes"`
	// Untagged are the names that were taken away.
	Untagged []string `json:"untagged"`
	// Forgotten is where the trees were that the store forgot.
	Forgotten []string `json:"forgotten"`
}

// Prune removes what nothing needs. Options may be nil.
func (s *Store) Prune(ctx context.Context, options *PruneOptions) (*PruneResult, error) {
	data, err := ffi.Prune(ctx, s.h(), ffi.PruneOptions(or(options)))
	return decode[PruneResult](data, err)
}

// Usage is what a store takes on disk, in bytes.
type Usage struct {
	Images []ImageUsage `json:"images"`
	// Blobs is how many there are.
	Blobs     uint64 `json:"blobs"`
	BlobBytes uint64 `json:"blob_bytes"`
	// Reclaimable is what a prune would free.
	Reclaimable uint64 `json:"reclaimable"`
	// Trees is how many are known.
	Trees uint64 `json:"trees"`
	// LayerBytes is the size of layer lists, indexes and relations, IndexBytes that of the indexes alone.
	LayerBytes uint64 `json:"layer_bytes"`
	IndexBytes uint64 `json:"index_bytes"`
	// CacheRecords is how many records of build steps there are, CacheBytes what builds keep: a prune of the build cache frees it.
	CacheRecords uint64 `json:"cache_records"`
	CacheBytes   uint64 `json:"cache_bytes"`
	// TmpBytes is the size of files being written, or left by dead writers.
	TmpBytes uint64 `json:"tmp_bytes"`
}

// ImageUsage is what one image takes on disk, all platforms together.
type ImageUsage struct {
	// Names it has; none for an untagged image.
	Names []string `json:"names"`
	// Digest of the manifest or index.
	Digest string `json:"digest"`
	Size   uint64 `json:"size"`
	// Shared is how much of it other images need too, Unique what goes when only this image is removed.
	Shared uint64 `json:"shared"`
	Unique uint64 `json:"unique"`
	Layers int    `json:"layers"`
}

// Usage says what takes the space.
func (s *Store) Usage(ctx context.Context) (*Usage, error) {
	return decode[Usage](ffi.Usage(ctx, s.h()))
}

func decode[T any](data []byte, err error) (*T, error) {
	var out T
	if err != nil {
		return nil, wrap(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, wrap(ffi.NewError(int32(ErrInternal), "read result", err.Error(), err))
	}
	return &out, nil
}

// Ref is one image in a store's index.
type Ref struct {
	// Name, always with a tag; empty for an image without one.
	Name string
	// MediaType of the manifest or index it stands for.
	MediaType string
	// Digest of that document.
	Digest string
	// Size of that document in bytes.
	Size uint64
}

// Refs lists the images of the store, in the order of its index, those without a name included.
func (s *Store) Refs() ([]Ref, error) {
	list, err := ffi.Refs(s.h())
	var out []Ref
	for _, r := range list {
		out = append(out, Ref(r))
	}
	return out, wrap(err)
}

// Resolve finds what a reference stands for, a name, NAME@DIGEST, a digest, or the start of one: the digest and size of a
// manifest or index.
func (s *Store) Resolve(reference string) (digest string, size uint64, err error) {
	digest, size, err = ffi.Resolve(s.h(), reference)
	return digest, size, wrap(err)
}

// Tag gives an image a name, moving the name when another image has it.
func (s *Store) Tag(reference, name string) error { return wrap(ffi.Tag(s.h(), reference, name)) }

// Untag takes a name away; the image stays until the next prune.
func (s *Store) Untag(name string) error { return wrap(ffi.Untag(s.h(), name)) }

// Remove takes all names of an image away, and its entry in the index; its blobs stay until the next prune.
func (s *Store) Remove(reference string) error { return wrap(ffi.Remove(s.h(), reference)) }
