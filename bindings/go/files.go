package treering

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// ImageFS is the files of an image as a filesystem, read without unpacking it. It is an [fs.FS], with ReadDir, ReadFile, Stat,
// Lstat and ReadLink. Symbolic links are followed inside the image. Names need not be UTF-8. It needs the image open, and files that were opened do not.
type ImageFS struct{ image *Image }

var (
	_ fs.ReadDirFS  = ImageFS{}
	_ fs.ReadFileFS = ImageFS{}
	_ fs.StatFS     = ImageFS{}
)

// FS is the files of the image. The first time they are asked for, that takes as long as reading all layers; the store keeps the
// list.
func (i *Image) FS() ImageFS { return ImageFS{i} }

// Open opens a file or directory. What a file gives is checked piece by piece: it is what the layer with the DiffID of the
// configuration has.
func (f ImageFS) Open(name string) (fs.File, error) {
	e, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	switch e.Kind {
	case Directory:
		list, err := ffi.ListImage(f.image.h(), inImage(name))
		if err != nil {
			return nil, failed("open", name, err)
		}
		return &imageDirectory{imageInfo{path.Base(name), e}, name, list}, nil
	case File:
		reader, err := ffi.OpenImageFile(context.Background(), f.image.h(), inImage(name))
		if err != nil {
			return nil, failed("open", name, err)
		}
		return &imageFile{imageInfo{path.Base(name), e}, name, reader}, nil
	}
	return &imageFile{imageInfo{path.Base(name), e}, name, nil}, nil
}

// ReadDir lists a directory, sorted by name.
func (f ImageFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if !valid(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	list, err := ffi.ListImage(f.image.h(), inImage(name))
	if err != nil {
		return nil, failed("readdir", name, err)
	}
	defer list.Close()
	return entries(name, list, -1)
}

// ReadFile reads a file.
func (f ImageFS) ReadFile(name string) ([]byte, error) {
	e, err := f.find("readfile", name, true)
	if err != nil {
		return nil, err
	}
	reader, err := ffi.OpenImageFile(context.Background(), f.image.h(), inImage(name))
	if err != nil {
		return nil, failed("readfile", name, err)
	}
	defer reader.Close()
	out := make([]byte, e.Size)
	if _, err := io.ReadFull(reader, out); err != nil {
		return nil, failed("readfile", name, err)
	}
	return out, nil
}

// Stat finds a file, following symbolic links. Sys of what it gives is the [Entry].
func (f ImageFS) Stat(name string) (fs.FileInfo, error) { return f.info("stat", name, true) }

// Lstat is Stat of a symbolic link itself.
func (f ImageFS) Lstat(name string) (fs.FileInfo, error) { return f.info("lstat", name, false) }

// ReadLink is where a symbolic link leads.
func (f ImageFS) ReadLink(name string) (string, error) {
	e, err := f.find("readlink", name, false)
	if err == nil && e.Kind != Symlink {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return e.Target, err
}

func (f ImageFS) info(operation, name string, follow bool) (fs.FileInfo, error) {
	e, err := f.find(operation, name, follow)
	if err != nil {
		return nil, err
	}
	return imageInfo{path.Base(name), e}, nil
}

func (f ImageFS) find(operation, name string, follow bool) (Entry, error) {
	if !valid(name) {
		return Entry{}, &fs.PathError{Op: operation, Path: name, Err: fs.ErrInvalid}
	}
	e, err := ffi.StatImage(f.image.h(), inImage(name), follow)
	if err != nil {
		return Entry{}, failed(operation, name, err)
	}
	return entry(e), nil
}

// valid is fs.ValidPath for names that need not be UTF-8.
func valid(name string) bool { return fs.ValidPath(strings.ToValidUTF8(name, "x")) }

// inImage is a name of package fs as the library has it.
func inImage(name string) string {
	if name == "." {
		return ""
	}
	return name
}

func failed(operation, name string, err error) error {
	return &fs.PathError{Op: operation, Path: name, Err: wrap(err)}
}

// imageInfo is a file of an image as package fs has them, and an entry of a directory.
type imageInfo struct {
	name  string
	entry Entry
}

func (i imageInfo) Name() string               { return i.name }
func (i imageInfo) Size() int64                { return int64(i.entry.Size) }
func (i imageInfo) Mode() fs.FileMode          { return i.entry.FileMode() }
func (i imageInfo) ModTime() time.Time         { return i.entry.ModTime }
func (i imageInfo) IsDir() bool                { return i.entry.Kind == Directory }
func (i imageInfo) Sys() any                   { return i.entry }
func (i imageInfo) Type() fs.FileMode          { return i.entry.FileMode().Type() }
func (i imageInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i imageInfo) String() string             { return fs.FormatFileInfo(i) }

// imageFile is an open file.
type imageFile struct {
	info imageInfo
	name string
	// reader is nil where there is no content.
	reader *ffi.Reader
}

func (f *imageFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *imageFile) Read(buffer []byte) (int, error) {
	if f.reader == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	n, err := f.reader.Read(buffer)
	if err != nil && err != io.EOF {
		err = failed("read", f.name, err)
	}
	return n, err
}

func (f *imageFile) Close() error {
	if f.reader == nil {
		return nil
	}
	return closed(f.name, f.reader.Close())
}

// closed says of a second Close what package os says.
func closed(name string, err error) error {
	err = wrap(err)
	if errors.Is(err, ErrClosed) {
		return &fs.PathError{Op: "close", Path: name, Err: fs.ErrClosed}
	}
	return err
}

// imageDirectory is an open directory.
type imageDirectory struct {
	info imageInfo
	name string
	list *ffi.Handle
}

func (d *imageDirectory) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *imageDirectory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *imageDirectory) Close() error { return closed(d.name, d.list.Close()) }

// ReadDir is that of fs.ReadDirFile.
func (d *imageDirectory) ReadDir(n int) ([]fs.DirEntry, error) {
	out, err := entries(d.name, d.list, n)
	if err == nil && n > 0 && len(out) == 0 {
		err = io.EOF
	}
	return out, err
}

// entries gives the next n entries of a directory; all of them where n is not above 0.
func entries(name string, list *ffi.Handle, n int) ([]fs.DirEntry, error) {
	out := []fs.DirEntry{}
	for n <= 0 || len(out) < n {
		room := 256
		if n > 0 {
			room = min(room, n-len(out))
		}
		more, err := ffi.NextEntries(list, room)
		if err != nil {
			return out, failed("readdir", name, err)
		}
		if len(more) == 0 {
			break
		}
		for _, e := range more {
			out = append(out, imageInfo{path.Base(e.Path), entry(e)})
		}
	}
	return out, nil
}
