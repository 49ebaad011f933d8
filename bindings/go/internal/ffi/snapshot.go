package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"encoding/hex"
	"time"
	"unsafe"
)

func snapshotHandle(p *C.treering_snapshot) *Handle {
	return newHandle("snapshot", unsafe.Pointer(p), func(p unsafe.Pointer) {
		C.treering_snapshot_free((*C.treering_snapshot)(p))
	})
}

// ScanOptions as the public package has them.
type ScanOptions struct {
	Owner, OwnerFrom         string
	Store, Previous          *Handle
	OneFileSystem, AllXattrs bool
	Threads                  int
	Exclude                  []string
	IgnoreFile               string
}

// Scan lists everything in a tree.
func Scan(ctx context.Context, tree string, o ScanOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	path, n := a.bytes(tree)
	var options C.treering_scan_options
	options.owner, options.owner_from = a.text(o.Owner), a.slice(o.OwnerFrom)
	options.store, options.previous = a.store(o.Store), (*C.treering_snapshot)(a.optional(o.Previous))
	options.one_file_system, options.all_xattrs = C.bool(o.OneFileSystem), C.bool(o.AllXattrs)
	options.threads, options.ignore_file = a.threads(o.Threads), a.slice(o.IgnoreFile)
	options.exclude, options.exclude_len = a.texts(o.Exclude)
	var out *C.treering_snapshot
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_snapshot_scan(path, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out, &report, e)
		})
	}
	notes := takeReport(report)
	if out == nil {
		return nil, nil, a.err
	}
	return snapshotHandle(out), notes, a.err
}

// LoadSnapshot loads a snapshot from a file.
func LoadSnapshot(path string) (*Handle, error) {
	var a arguments
	defer a.free()
	p, n := a.bytes(path)
	var out *C.treering_snapshot
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_snapshot_load(p, n, &out, e) })
	if a.err != nil {
		return nil, a.err
	}
	return snapshotHandle(out), nil
}

// SnapshotFromBytes makes a snapshot of its bytes.
func SnapshotFromBytes(data []byte) (*Handle, error) {
	var a arguments
	defer a.free()
	p, n := a.bytes(string(data))
	var out *C.treering_snapshot
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_snapshot_from_bytes(p, n, &out, e) })
	if a.err != nil {
		return nil, a.err
	}
	return snapshotHandle(out), nil
}

// SnapshotBytes are the bytes as they are saved.
func SnapshotBytes(h *Handle) ([]byte, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_snapshot)(a.use(h))
	if a.err != nil {
		return nil, a.err
	}
	var n C.size_t
	data := C.treering_snapshot_bytes(s, &n)
	return []byte(goString(data, n)), nil
}

// ImageContents lists everything in an image.
func ImageContents(ctx context.Context, h *Handle) (*Handle, error) {
	var a arguments
	defer a.free()
	image := (*C.treering_image)(a.use(h))
	var out *C.treering_snapshot
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_image_contents(image, c, &out, e)
		})
	}
	if out == nil {
		return nil, a.err
	}
	return snapshotHandle(out), a.err
}

// SaveSnapshot saves a snapshot to a file.
func SaveSnapshot(h *Handle, path string) error {
	var a arguments
	defer a.free()
	s := (*C.treering_snapshot)(a.use(h))
	p, n := a.bytes(path)
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_snapshot_save(s, p, n, e) })
	return a.err
}

// SnapshotLen is how many entries a snapshot has.
func SnapshotLen(h *Handle) int {
	var a arguments
	defer a.free()
	return int(C.treering_snapshot_len((*C.treering_snapshot)(a.use(h))))
}

// Entry of a snapshot.
type Entry struct {
	Path, Target          string
	Size                  uint64
	ModTime               time.Time
	Kind                  int32
	Mode, UID, GID        uint32
	Major, Minor, Links   uint32
	Index, Parent, Leader uint32
	Xattrs                int
	Digest                string
}

func entry(e *C.treering_entry) Entry {
	out := Entry{
		Path: goString(e.path, e.path_len), Target: goString(e.target, e.target_len), Size: uint64(e.size),
		ModTime: time.Unix(int64(e.mtime_secs), int64(e.mtime_nanos)), Kind: int32(e.kind),
		Mode: uint32(e.mode), UID: uint32(e.uid), GID: uint32(e.gid),
		Major: uint32(e.rdev_major), Minor: uint32(e.rdev_minor), Links: uint32(e.nlink),
		Index: uint32(e.index), Parent: uint32(e.parent), Leader: uint32(e.leader), Xattrs: int(e.xattrs),
	}
	if e.has_digest {
		out.Digest = "sha256:" + hex.EncodeToString(unsafe.Slice((*byte)(unsafe.Pointer(&e.digest[0])), len(e.digest)))
	}
	return out
}

// Lookup finds an entry.
func Lookup(h *Handle, path string) (Entry, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_snapshot)(a.use(h))
	p, n := a.bytes(path)
	var out C.treering_entry
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_snapshot_lookup(s, p, n, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	if a.err != nil {
		return Entry{}, a.err
	}
	// The path the library gives back is the argument, which is still there.
	return entry(&out), nil
}

// Xattrs reads the extended attributes of an entry.
func Xattrs(h *Handle, index uint32, count int) (map[string]string, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_snapshot)(a.use(h))
	buffer := make([]C.treering_xattr, max(count, 1))
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_snapshot_xattrs(s, C.uint32_t(index), 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])),
			C.size_t(len(buffer)), &n, e)
	})
	return xattrs(buffer[:n]), a.err
}

func xattrs(list []C.treering_xattr) map[string]string {
	out := map[string]string{}
	for i := range list {
		x := &list[i]
		out[goString(x.name, x.name_len)] = goString(x.value, x.value_len)
	}
	return out
}

// Entries walks over a snapshot in batches.
func Entries(h *Handle, yield func(Entry) bool) error {
	walk, err := newWalk(h)
	if err != nil {
		return err
	}
	defer walk.Close()
	buffer := make([]C.treering_entry, batch)
	for {
		entries, err := nextEntries(walk, buffer)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			if !yield(e) {
				return nil
			}
		}
	}
}

func newWalk(h *Handle) (*Handle, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_snapshot)(a.use(h))
	var walk *C.treering_walk
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_snapshot_walk(s, &walk, e) })
	if a.err != nil {
		return nil, a.err
	}
	return walkHandle(walk), nil
}

func walkHandle(p *C.treering_walk) *Handle {
	return newHandle("walk", unsafe.Pointer(p), func(p unsafe.Pointer) { C.treering_walk_free((*C.treering_walk)(p)) })
}

func nextEntries(walk *Handle, buffer []C.treering_entry) ([]Entry, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_walk)(a.use(walk))
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_walk_next(p, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	out := make([]Entry, n)
	for i := range out {
		out[i] = entry(&buffer[i])
	}
	return out, a.err
}
