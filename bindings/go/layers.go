package treering

import (
	"context"
	"io"
	"iter"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// OpenLayer opens the blob of a layer as it is stored, base first, counted from 0. Reaching its end is ErrCorrupt unless it has the size
// and the digest that the manifest says.
func (i *Image) OpenLayer(index int) (io.ReadCloser, error) { return i.openLayer(index, false) }

// OpenLayerTar opens the tar in a layer, decompressed. Reaching its end is ErrCorrupt unless blob and tar are what manifest and
// configuration say.
func (i *Image) OpenLayerTar(index int) (io.ReadCloser, error) { return i.openLayer(index, true) }

func (i *Image) openLayer(index int, tar bool) (io.ReadCloser, error) {
	reader, err := ffi.OpenLayer(i.h(), index, tar)
	if err != nil {
		return nil, wrap(err)
	}
	return layerReader{reader}, nil
}

// layerReader has the errors of this package.
type layerReader struct{ reader *ffi.Reader }

func (l layerReader) Read(buffer []byte) (int, error) {
	n, err := l.reader.Read(buffer)
	if err != nil && err != io.EOF {
		err = wrap(err)
	}
	return n, err
}

func (l layerReader) Close() error { return wrap(l.reader.Close()) }

// LayerFile is an entry of a layer with its content, which it reads: until the loop goes on.
type LayerFile struct {
	LayerEntry
	content io.Reader
}

// Read is that of io.Reader: the content of a regular file, holes as zeros.
func (f *LayerFile) Read(buffer []byte) (int, error) {
	n, err := f.content.Read(buffer)
	if err != nil && err != io.EOF {
		err = wrap(err)
	}
	return n, err
}

// LayerFiles iterates over the entries of a layer of an image with their content, without gathering them, whiteouts as they stand
// there. When the loop has come to the end, everything was verified. An error is the last thing a loop gets. MaxRatio and MaxMemory
// of the options, which may be nil, are of no matter.
func (i *Image) LayerFiles(ctx context.Context, index int, options *ListOptions) iter.Seq2[*LayerFile, error] {
	return layerFiles(ctx, nil, i.h(), index, options)
}

// LayerFiles iterates over the entries of a layer, compressed or not, with their content, without gathering them. The reader is called
// from other threads, never from two at once, and not after the loop has ended. An error is the last thing a loop gets. MaxMemory of
// the options, which may be nil, is of no matter.
func LayerFiles(ctx context.Context, r io.Reader, options *ListOptions) iter.Seq2[*LayerFile, error] {
	return layerFiles(ctx, r, nil, 0, options)
}

func layerFiles(ctx context.Context, r io.Reader, image *ffi.Handle, index int, options *ListOptions) iter.Seq2[*LayerFile, error] {
	return func(yield func(*LayerFile, error) bool) {
		err := ffi.LayerFiles(ctx, r, image, index, ffi.ListOptions(or(options)), func(e ffi.LayerEntry, content io.Reader) bool {
			return yield(&LayerFile{layerEntry(e), content}, nil)
		})
		if err != nil {
			yield(nil, wrap(err))
		}
	}
}
