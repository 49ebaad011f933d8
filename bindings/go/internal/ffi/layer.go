package ffi

// #include <treering.h>
//
// extern int32_t treeringGoWrite(uintptr_t userdata, uint8_t *data, size_t n);
// extern int32_t treeringGoRead(uintptr_t userdata, uint8_t *data, size_t capacity, size_t *n);
//
// // A handle of Go is a number and no pointer; these keep it one on Go's side.
// static int32_t write_go(void *userdata, const uint8_t *data, size_t n) {
//   return treeringGoWrite((uintptr_t)userdata, (uint8_t *)data, n);
// }
// static int32_t read_go(void *userdata, uint8_t *data, size_t capacity, size_t *n) {
//   return treeringGoRead((uintptr_t)userdata, data, capacity, n);
// }
// static treering_status layer_write(const treering_diff *diff, const treering_layer_options *options, size_t options_size, uintptr_t go,
//     const treering_control *control, treering_layer_result *out, size_t size, treering_error **err) {
//   return treering_layer_write_callback(diff, options, options_size, write_go, (void *)go, NULL, control, out, size, err);
// }
// static treering_status layer_apply(const treering_store *store, uintptr_t go, const uint8_t *dir, size_t n,
//     const treering_apply_options *options, size_t options_size, const treering_control *control, treering_apply_result *out, size_t size,
//     treering_report **report, treering_error **err) {
//   return treering_layer_apply_callback(store, read_go, (void *)go, NULL, dir, n, options, options_size, control, out, size, report, err);
// }
// static treering_status layer_list(uintptr_t go, const treering_layer_list_options *options, size_t options_size, const treering_control *control,
//     treering_layer_list **out, treering_error **err) {
//   return treering_layer_list_callback(read_go, (void *)go, NULL, options, options_size, control, out, err);
// }
// static treering_status archive_save(const treering_store *store, char **refs, size_t n, const treering_save_options *options, uintptr_t go,
//     const treering_control *control, treering_error **err) {
//   return treering_archive_save_callback(store, (const char *const *)refs, n, options, sizeof *options, write_go, (void *)go, NULL, control, err);
// }
// static treering_status archive_load(const treering_store *store, uintptr_t go, const treering_load_options *options, size_t options_size,
//     const treering_control *control, treering_loaded **out, treering_error **err) {
//   return treering_archive_load_callback(store, read_go, (void *)go, NULL, options, options_size, control, out, err);
// }
// static treering_status archive_import(const treering_store *store, uintptr_t go, const char *reference,
//     const treering_import_options *options, size_t options_size, const treering_control *control, treering_commit_result *out, size_t size,
//     treering_error **err) {
//   return treering_archive_import_callback(store, read_go, (void *)go, NULL, reference, options, options_size, control, out, size, err);
// }
// static treering_status archive_export(const treering_store *store, const char *reference, const uint8_t *tree, size_t n,
//     const treering_export_options *options, size_t options_size, uintptr_t go, const treering_control *control, treering_error **err) {
//   return treering_archive_export_callback(store, reference, tree, n, options, options_size, write_go, (void *)go, NULL, control, err);
// }
import "C"

import (
	"context"
	"io"
	"time"
	"unsafe"
)

// LayerOptions as the public package has them.
type LayerOptions struct {
	Compression string
	Level       int
	Nanoseconds bool
	ClampMtime  time.Time
	Threads     int
}

// LayerResult is a layer that was written.
type LayerResult struct {
	DiffID, Digest          string
	DiffSize, Size, Entries uint64
}

// WriteLayer writes the layer of a diff.
func WriteLayer(ctx context.Context, diff *Handle, w io.Writer, o LayerOptions) (LayerResult, error) {
	var a arguments
	defer a.free()
	d := (*C.treering_diff)(a.use(diff))
	var options C.treering_layer_options
	options.compression, options.level, options.threads = a.text(o.Compression), a.level(o.Level), a.threads(o.Threads)
	options.nanoseconds, options.clamp_mtime = C.bool(o.Nanoseconds), a.seconds(o.ClampMtime)
	var out C.treering_layer_result
	if a.err == nil {
		a.err = streaming(ctx, nil, w, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.layer_write(d, &options, C.size_t(unsafe.Sizeof(options)), h, c, &out, C.size_t(unsafe.Sizeof(out)), e)
		})
	}
	return LayerResult{DiffID: digest(&out.diff_id), Digest: digest(&out.digest), DiffSize: uint64(out.diff_size),
		Size: uint64(out.size), Entries: uint64(out.entries)}, a.err
}

// ApplyResult is a layer that was applied.
type ApplyResult struct {
	DiffID, Digest                  string
	DiffSize, Size, Entries, Unkept uint64
	Notes                           []Note
}

// ApplyLayer applies a layer to a directory.
func ApplyLayer(ctx context.Context, store *Handle, r io.Reader, dir string, o ApplyOptions) (ApplyResult, error) {
	var a arguments
	defer a.free()
	s := a.store(store)
	path, n := a.bytes(dir)
	options := a.apply(o)
	var out C.treering_apply_result
	var report *C.treering_report
	if a.err == nil {
		a.err = streaming(ctx, r, nil, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.layer_apply(s, h, path, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
				C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	return ApplyResult{DiffID: digest(&out.diff_id), Digest: digest(&out.digest), DiffSize: uint64(out.diff_size),
		Size: uint64(out.size), Entries: uint64(out.entries), Unkept: uint64(out.unkept), Notes: takeReport(report)}, a.err
}

// LayerEntry is one entry of a layer.
type LayerEntry struct {
	Path, Link   string
	Size         uint64
	ModTime      time.Time
	Kind         int32
	Mode         uint32
	UID, GID     uint32
	Major, Minor uint32
	Xattrs       map[string]string
}

// ListOptions as the public package has them.
type ListOptions struct{ MaxBytes, MaxEntries, MaxRatio, MaxMemory uint64 }

// ListLayer lists what is in a layer.
func ListLayer(ctx context.Context, r io.Reader, o ListOptions) ([]LayerEntry, error) {
	var a arguments
	defer a.free()
	options := a.list(o)
	if a.err != nil {
		return nil, a.err
	}
	var list *C.treering_layer_list
	err := streaming(ctx, r, nil, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.layer_list(h, &options, C.size_t(unsafe.Sizeof(options)), c, &list, e)
	})
	defer func() { C.treering_layer_list_free(list) }()
	if list == nil {
		return nil, err
	}
	out := make([]LayerEntry, 0, C.treering_layer_list_len(list))
	buffer := make([]C.treering_layer_entry, batch)
	for {
		var n C.size_t
		a.do(func(e **C.treering_error) C.treering_status {
			return C.treering_layer_list_get(list, C.size_t(len(out)), &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])),
				C.size_t(len(buffer)), &n, e)
		})
		if a.err != nil {
			return nil, a.err
		}
		if n == 0 {
			return out, err
		}
		for i := range buffer[:n] {
			e := &buffer[i]
			xattrs, err := layerXattrs(list, len(out), int(e.xattrs))
			if err != nil {
				return nil, err
			}
			out = append(out, LayerEntry{Path: goString(e.path, e.path_len), Link: goString(e.link, e.link_len),
				Size: uint64(e.size), ModTime: time.Unix(int64(e.mtime_secs), int64(e.mtime_nanos)), Kind: int32(e.kind),
				Mode: uint32(e.mode), UID: uint32(e.uid), GID: uint32(e.gid), Major: uint32(e.rdev_major),
				Minor: uint32(e.rdev_minor), Xattrs: xattrs})
		}
	}
}

func layerXattrs(list *C.treering_layer_list, index, count int) (map[string]string, error) {
	if count == 0 {
		return nil, nil
	}
	var a arguments
	buffer := make([]C.treering_xattr, count)
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_layer_list_xattrs(list, C.size_t(index), 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])),
			C.size_t(len(buffer)), &n, e)
	})
	return xattrs(buffer[:n]), a.err
}

// SaveArchive writes images as one archive.
func SaveArchive(ctx context.Context, store *Handle, w io.Writer, references []string, format, platform string) error {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	list, n := a.texts(references)
	var options C.treering_save_options
	options.format, options.platform = a.text(format), a.text(platform)
	if a.err != nil {
		return a.err
	}
	return streaming(ctx, nil, w, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.archive_save(s, list, n, &options, h, c, e)
	})
}

// Loaded is one image that was loaded.
type Loaded struct{ Name, Manifest, ImageID string }

// LoadOptions as the public package has them.
type LoadOptions struct {
	Names                string
	MaxBytes, MaxEntries uint64
}

// LoadArchive loads every image of an archive.
func LoadArchive(ctx context.Context, store *Handle, r io.Reader, o LoadOptions) ([]Loaded, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	options := C.treering_load_options{names: a.text(o.Names), max_bytes: C.uint64_t(o.MaxBytes),
		max_entries: C.uint64_t(o.MaxEntries)}
	if a.err != nil {
		return nil, a.err
	}
	var list *C.treering_loaded
	err := streaming(ctx, r, nil, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.archive_load(s, h, &options, C.size_t(unsafe.Sizeof(options)), c, &list, e)
	})
	defer func() { C.treering_loaded_free(list) }()
	if list == nil {
		return nil, err
	}
	buffer := make([]C.treering_loaded_image, C.treering_loaded_len(list)+1)
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_loaded_get(list, 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	if a.err != nil {
		return nil, a.err
	}
	var out []Loaded
	for i := range buffer[:n] {
		l := &buffer[i]
		out = append(out, Loaded{Name: C.GoString(l.name), Manifest: digest(&l.manifest), ImageID: digest(&l.image_id)})
	}
	return out, err
}

// ImportOptions as the public package has them.
type ImportOptions struct {
	Changes                   []string
	Message, Author, Platform string
	Created                   time.Time
	Compression               string
	Level                     int
	Threads                   int
	MaxBytes, MaxEntries      uint64
}

// Import makes an image of a tar of a filesystem.
func Import(ctx context.Context, store *Handle, r io.Reader, reference string, o ImportOptions) (CommitResult, error) {
	var a arguments
	defer a.free()
	s, ref := (*C.treering_store)(a.use(store)), a.text(reference)
	var options C.treering_import_options
	options.changes, options.changes_len = a.texts(o.Changes)
	options.message, options.author, options.platform = a.text(o.Message), a.text(o.Author), a.text(o.Platform)
	options.created, options.threads = a.seconds(o.Created), a.threads(o.Threads)
	options.compression, options.level = a.text(o.Compression), a.level(o.Level)
	options.max_bytes, options.max_entries = C.uint64_t(o.MaxBytes), C.uint64_t(o.MaxEntries)
	var out C.treering_commit_result
	if a.err == nil {
		a.err = streaming(ctx, r, nil, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.archive_import(s, h, ref, &options, C.size_t(unsafe.Sizeof(options)), c, &out, C.size_t(unsafe.Sizeof(out)), e)
		})
	}
	return commitResult(&out), a.err
}

// ExportOptions as the public package has them.
type ExportOptions struct {
	Platform, Owner, OwnerFrom string
	Nanoseconds                bool
	ClampMtime                 time.Time
	Threads                    int
}

// Export writes the filesystem of an image, or of a directory, as one tar.
func Export(ctx context.Context, store *Handle, reference, tree string, w io.Writer, o ExportOptions) error {
	var a arguments
	defer a.free()
	s, ref := (*C.treering_store)(a.use(store)), a.text(reference)
	path, n := a.bytes(tree)
	var options C.treering_export_options
	options.platform, options.owner, options.owner_from = a.text(o.Platform), a.text(o.Owner), a.slice(o.OwnerFrom)
	options.nanoseconds, options.clamp_mtime = C.bool(o.Nanoseconds), a.seconds(o.ClampMtime)
	options.threads = a.threads(o.Threads)
	if a.err != nil {
		return a.err
	}
	return streaming(ctx, nil, w, func(h C.uintptr_t, c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.archive_export(s, ref, path, n, &options, C.size_t(unsafe.Sizeof(options)), h, c, e)
	})
}
