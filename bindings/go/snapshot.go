package treering

import (
	"context"
	"io/fs"
	"iter"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// ScanOptions says how a tree is listed.
type ScanOptions struct {
	// Owner is the owner of the files: root, keep, UID:GID or map:IMAGE:DISK:COUNT[,...].
	Owner string
	// OwnerFrom is another tool's record of owners to go by: none, rootlesscontainers, override-stat or fakeroot:FILE.
	OwnerFrom string
	// Store that may have what the disk could not hold of the tree; may be nil.
	Store *Store
	// Previous snapshot of the same tree, taken with the same owner and store: what did not change is not read again.
	Previous *Snapshot
	// OneFileSystem leaves out what is mounted below the root.
	OneFileSystem bool
	// AllXattrs keeps extended attributes that no layer carries.
	AllXattrs bool
	// Threads to use; 0 for one per processor.
	Threads int
	// Exclude has patterns of paths to leave out, as in a .dockerignore.
	Exclude []string
	// IgnoreFile is a file of such patterns, which count before those of Exclude.
	IgnoreFile string
}

// Snapshot is the sorted list of everything in a tree at one moment. It never changes.
type Snapshot struct {
	// Notes about what was left out by the scan that made it.
	Notes []Note

	handle *ffi.Handle
}

// Scan lists everything in a tree. Options may be nil.
func Scan(ctx context.Context, tree string, options *ScanOptions) (*Snapshot, error) {
	o := or(options)
	handle, list, err := ffi.Scan(ctx, tree, ffi.ScanOptions{Owner: o.Owner, OwnerFrom: o.OwnerFrom, Store: o.Store.h(),
		Previous: o.Previous.h(), OneFileSystem: o.OneFileSystem, AllXattrs: o.AllXattrs, Threads: o.Threads,
		Exclude: o.Exclude, IgnoreFile: o.IgnoreFile})
	return result(Snapshot{Notes: notes(list), handle: handle}, err)
}

// LoadSnapshot loads a snapshot that was saved. The file is read whole.
func LoadSnapshot(path string) (*Snapshot, error) {
	handle, err := ffi.LoadSnapshot(path)
	return result(Snapshot{handle: handle}, err)
}

// SnapshotFromBytes makes a snapshot of what [Snapshot.Bytes] gave.
func SnapshotFromBytes(data []byte) (*Snapshot, error) {
	handle, err := ffi.SnapshotFromBytes(data)
	return result(Snapshot{handle: handle}, err)
}

func (s *Snapshot) h() *ffi.Handle {
	if s == nil {
		return nil
	}
	return s.handle
}

// Save saves the snapshot. A regular file appears, or is replaced, once all is written, and keeps its mode. A link is followed; a pipe or a
// device is written to as it is.
func (s *Snapshot) Save(path string) error { return wrap(ffi.SaveSnapshot(s.h(), path)) }

// Bytes of the snapshot as they are saved, copied.
func (s *Snapshot) Bytes() ([]byte, error) {
	data, err := ffi.SnapshotBytes(s.h())
	return data, wrap(err)
}

// Close frees the snapshot. Diffs made from it stay usable.
func (s *Snapshot) Close() error { return wrap(s.h().Close()) }

// Len is how many entries it has, the root included; 0 when it is closed.
func (s *Snapshot) Len() int { return ffi.SnapshotLen(s.h()) }

// FileKind is what an entry is.
type FileKind int32

// The kinds.
const (
	File        FileKind = 1
	Directory   FileKind = 2
	Symlink     FileKind = 3
	CharDevice  FileKind = 4
	BlockDevice FileKind = 5
	Fifo        FileKind = 6
	Socket      FileKind = 7
	// Hardlink is another name for an earlier entry; only layers have it, a tree has [Entry.Leader].
	Hardlink FileKind = 8
)

// Entry of a snapshot.
type Entry struct {
	// Path below the root, components joined by slashes; empty for the root.
	Path string
	// Target of a symbolic link.
	Target string
	// Size of a regular file in bytes.
	Size uint64
	// ModTime is the last change of content.
	ModTime time.Time
	// Kind of file.
	Kind FileKind
	// Mode is the permission bits with setuid, setgid and sticky, as Unix numbers them: 0 to 07777.
	Mode uint32
	// UID and GID of owner and group, as a layer would have them.
	UID, GID uint32
	// Major and Minor numbers of a device.
	Major, Minor uint32
	// Links is how many names the file has, inside the tree or out of it.
	Links uint32
	// Index is its number in the snapshot, Parent that of the directory it is in.
	Index, Parent uint32
	// Leader is the first entry of those that are the same file; its own number when it is alone.
	Leader uint32
	// Xattrs is how many extended attributes it has, see [Snapshot.Xattrs].
	Xattrs int
	// Digest of the content, where it was taken.
	Digest string
}

// FileMode is kind and permissions as Go has them.
func (e Entry) FileMode() fs.FileMode {
	mode := fs.FileMode(e.Mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= flag
		}
	}
	switch e.Kind {
	case Directory:
		mode |= fs.ModeDir
	case Symlink:
		mode |= fs.ModeSymlink
	case CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case BlockDevice:
		mode |= fs.ModeDevice
	case Fifo:
		mode |= fs.ModeNamedPipe
	case Socket:
		mode |= fs.ModeSocket
	}
	return mode
}

func entry(e ffi.Entry) Entry {
	return Entry{
		Path: e.Path, Target: e.Target, Size: e.Size, ModTime: e.ModTime, Kind: FileKind(e.Kind), Mode: e.Mode, UID: e.UID,
		GID: e.GID, Major: e.Major, Minor: e.Minor, Links: e.Links, Index: e.Index, Parent: e.Parent, Leader: e.Leader,
		Xattrs: e.Xattrs, Digest: e.Digest,
	}
}

// Lookup finds the entry at a path, without following symbolic links; the empty path is the root.
func (s *Snapshot) Lookup(path string) (Entry, error) {
	e, err := ffi.Lookup(s.h(), path)
	if err != nil {
		return Entry{}, wrap(err)
	}
	return entry(e), nil
}

// Xattrs are the extended attributes of an entry, by name.
func (s *Snapshot) Xattrs(e Entry) (map[string]string, error) {
	attributes, err := ffi.Xattrs(s.h(), e.Index, e.Xattrs)
	return attributes, wrap(err)
}

// Entries iterates over all entries in byte order of their paths, the root first. Any number of loops may run at once. An
// error is the last thing a loop gets.
func (s *Snapshot) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := ffi.Entries(s.h(), func(e ffi.Entry) bool { return yield(entry(e), nil) }); err != nil {
			yield(Entry{}, wrap(err))
		}
	}
}
