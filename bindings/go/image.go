package treering

import (
	"context"
	"encoding/json"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Layer of an image.
type Layer struct {
	// Digest of the blob.
	Digest string
	// DiffID is the digest of the tar inside it.
	DiffID string
	// Size of the blob in bytes.
	Size uint64
	// MediaType of the blob.
	MediaType string
}

// Image is an image for one platform. It never changes, and keeps its store open.
type Image struct {
	handle *ffi.Handle
	facts  ffi.ImageFacts
}

// Image opens an image, for this machine's platform where it has several.
func (s *Store) Image(reference string) (*Image, error) { return s.ImageFor(reference, "") }

// ImageFor opens an image for a platform, os/arch[/variant].
func (s *Store) ImageFor(reference, platform string) (*Image, error) {
	handle, err := ffi.OpenImage(s.h(), reference, platform)
	if err != nil {
		return nil, wrap(err)
	}
	facts, err := ffi.ReadImage(handle)
	if err != nil {
		_ = handle.Close()
		return nil, wrap(err)
	}
	return &Image{handle, facts}, nil
}

func (i *Image) h() *ffi.Handle {
	if i == nil {
		return nil
	}
	return i.handle
}

// Close frees the image. What was read when it was opened stays; everything else needs it open.
func (i *Image) Close() error { return wrap(i.h().Close()) }

// ID is the image id: the digest of the configuration.
func (i *Image) ID() string { return i.facts.ID }

// Digest of the manifest.
func (i *Image) Digest() string { return i.facts.Digest }

// Platform it is for, os/arch[/variant].
func (i *Image) Platform() string { return i.facts.Platform }

// Size of manifest, configuration and layers as stored, in bytes.
func (i *Image) Size() uint64 { return i.facts.Size }

// Manifest exactly as stored. Not to be changed.
func (i *Image) Manifest() json.RawMessage { return i.facts.Manifest }

// Config is the configuration exactly as stored. Not to be changed.
func (i *Image) Config() json.RawMessage { return i.facts.Config }

// Layers of the image, base first.
func (i *Image) Layers() []Layer {
	var out []Layer
	for _, l := range i.facts.Layers {
		out = append(out, Layer(l))
	}
	return out
}

// Contents is everything in the image, its layers merged, with the digest of every file. Reading all layers for the digests takes a
// while the first time; the store keeps them. FS needs none.
func (i *Image) Contents(ctx context.Context) (*Snapshot, error) {
	handle, err := ffi.ImageContents(ctx, i.h())
	return result(Snapshot{handle: handle}, err)
}

// HistoryRow is one row of docker history.
type HistoryRow struct {
	// ID is the image id for the newest row; empty for the others.
	ID string `json:"id"`
	// Created is when, RFC 3339, as the image says; empty when it does not.
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
	// Size of the layer's blob in bytes; 0 for a row without a layer.
	Size uint64 `json:"size"`
	// DiffSize is the size of the layer's tar; nil when the store does not have it.
	DiffSize *uint64 `json:"diff_size"`
	// DiffID of the layer; empty for a row without one.
	DiffID  string `json:"diff_id"`
	Comment string `json:"comment"`
}

// History of the image, newest row first.
func (i *Image) History() ([]HistoryRow, error) {
	rows, err := decode[[]HistoryRow](ffi.ImageJSON(i.h(), true))
	if err != nil {
		return nil, err
	}
	return *rows, nil
}

// Inspection is what docker inspect says about an image, with Docker's names.
type Inspection struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      string
	Author       string
	Architecture string
	Variant      string
	OS           string `json:"Os"`
	OSVersion    string `json:"OsVersion"`
	Size         uint64
	// Config is the image's own, with whatever members it has.
	Config json.RawMessage
	RootFS struct {
		Type   string
		Layers []string
	}
	// Descriptor of the manifest.
	Descriptor  json.RawMessage
	Annotations map[string]string
}

// Inspect is what docker inspect says about the image.
func (i *Image) Inspect() (*Inspection, error) {
	return decode[Inspection](ffi.ImageJSON(i.h(), false))
}
