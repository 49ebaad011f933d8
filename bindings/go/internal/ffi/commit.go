package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// Note is one thing an operation could not keep or left out.
type Note struct {
	Loss                    bool
	Path, Attribute, Reason string
}

func takeReport(report *C.treering_report) []Note {
	if report == nil {
		return nil
	}
	defer C.treering_report_free(report)
	buffer := make([]C.treering_note, C.treering_report_len(report))
	if len(buffer) == 0 {
		return nil
	}
	var n C.size_t
	C.treering_report_get(report, 0, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, nil)
	var out []Note
	for i := range buffer[:n] {
		note := &buffer[i]
		out = append(out, Note{note.kind == C.TREERING_NOTE_LOSS, goString(note.path, note.path_len),
			goString(note.attribute, note.attribute_len), C.GoString(note.reason)})
	}
	return out
}

// CommitOptions as the public package has them.
type CommitOptions struct {
	Base, Compare, Owner, OwnerFrom string
	Compression                     string
	Level                           int
	Nanoseconds                     bool
	ClampMtime                      time.Time
	Author, Message                 string
	Changes                         []string
	Created                         time.Time
	Squash                          bool
	Platform                        string
	Annotations                     map[string]string
	OneFileSystem                   bool
	Threads                         int
	Lowers                          []string
}

// CommitResult is what a commit or an import made.
type CommitResult struct {
	Manifest, ImageID              string
	HasLayer                       bool
	LayerDiffID, LayerDigest       string
	LayerDiffSize, LayerSize       uint64
	Added, Changed, Deleted, Bytes uint64
	OwnersReplaced                 uint64
	Notes                          []Note
}

func commitResult(r *C.treering_commit_result) CommitResult {
	return CommitResult{
		Manifest: digest(&r.manifest), ImageID: digest(&r.image_id), HasLayer: bool(r.has_layer),
		LayerDiffID: digest(&r.layer_diff_id), LayerDigest: digest(&r.layer_digest),
		LayerDiffSize: uint64(r.layer_diff_size), LayerSize: uint64(r.layer_size),
		Added: uint64(r.added), Changed: uint64(r.changed), Deleted: uint64(r.deleted), Bytes: uint64(r.bytes),
		OwnersReplaced: uint64(r.owners_replaced),
	}
}

// Commit commits a directory.
func Commit(ctx context.Context, store *Handle, tree, reference string, o CommitOptions) (CommitResult, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	path, n := a.bytes(tree)
	name := a.text(reference)
	var p *C.treering_commit_options
	a.set(func(e **C.treering_error) C.treering_status { return C.treering_commit_options_new(&p, e) })
	defer func() { C.treering_commit_options_free(p) }()
	base, compare, owner, compression := a.text(o.Base), a.text(o.Compare), a.text(o.Owner), a.text(o.Compression)
	from, size := a.bytes(o.OwnerFrom)
	level, threads := a.level(o.Level), a.threads(o.Threads)
	author, message, platform := a.text(o.Author), a.text(o.Message), a.text(o.Platform)
	for _, set := range []func(e **C.treering_error) C.treering_status{
		func(e **C.treering_error) C.treering_status { return C.treering_commit_options_set_base(p, base, e) },
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_compare(p, compare, e)
		},
		func(e **C.treering_error) C.treering_status { return C.treering_commit_options_set_owner(p, owner, e) },
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_owner_from(p, from, size, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_compression(p, compression, level, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_nanoseconds(p, C.bool(o.Nanoseconds), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_author(p, author, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_message(p, message, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_squash(p, C.bool(o.Squash), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_platform(p, platform, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_one_file_system(p, C.bool(o.OneFileSystem), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_threads(p, threads, e)
		},
	} {
		a.set(set)
	}
	if !o.ClampMtime.IsZero() {
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_clamp_mtime(p, C.int64_t(o.ClampMtime.Unix()), e)
		})
	}
	if !o.Created.IsZero() {
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_set_created(p, C.int64_t(o.Created.Unix()), e)
		})
	}
	for _, change := range o.Changes {
		c := a.always(change)
		a.set(func(e **C.treering_error) C.treering_status { return C.treering_commit_options_add_change(p, c, e) })
	}
	for key, value := range o.Annotations {
		k, v := a.always(key), a.always(value)
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_add_annotation(p, k, v, e)
		})
	}
	for _, lower := range o.Lowers {
		l, size := a.bytes(lower)
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_commit_options_add_lower(p, l, size, e)
		})
	}
	var out C.treering_commit_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_commit(s, path, n, name, p, c, &out, C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	result := commitResult(&out)
	result.Notes = takeReport(report)
	return result, a.err
}

// ApplyOptions as the public package has them.
type ApplyOptions struct {
	Threads              int
	DenyLoss, Lenient    bool
	MaxBytes, MaxEntries uint64
	MaxRatio             uint64
	Sync                 bool
	Platform, OwnerXattr string
}

func (a *arguments) apply(o ApplyOptions) *C.treering_apply_options {
	var p *C.treering_apply_options
	a.set(func(e **C.treering_error) C.treering_status { return C.treering_apply_options_new(&p, e) })
	a.undo = append(a.undo, func() { C.treering_apply_options_free(p) })
	platform, attribute, threads := a.text(o.Platform), a.text(o.OwnerXattr), a.threads(o.Threads)
	for _, set := range []func(e **C.treering_error) C.treering_status{
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_threads(p, threads, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_deny_loss(p, C.bool(o.DenyLoss), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_owner_xattr(p, attribute, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_lenient(p, C.bool(o.Lenient), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_sync(p, C.bool(o.Sync), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_platform(p, platform, e)
		},
	} {
		a.set(set)
	}
	if o.MaxBytes != 0 {
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_max_bytes(p, C.uint64_t(o.MaxBytes), e)
		})
	}
	if o.MaxEntries != 0 {
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_max_entries(p, C.uint64_t(o.MaxEntries), e)
		})
	}
	if o.MaxRatio != 0 {
		a.set(func(e **C.treering_error) C.treering_status {
			return C.treering_apply_options_set_max_ratio(p, C.uint64_t(o.MaxRatio), e)
		})
	}
	return p
}

// UnpackResult is what was unpacked.
type UnpackResult struct {
	Manifest          string
	Entries, InLedger uint64
	Notes             []Note
}

// Unpack makes a directory of an image.
func Unpack(ctx context.Context, store *Handle, reference, dir string, o ApplyOptions) (UnpackResult, error) {
	var a arguments
	defer a.free()
	s, r, p := (*C.treering_store)(a.use(store)), a.always(reference), a.apply(o)
	path, n := a.bytes(dir)
	var out C.treering_unpack_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_unpack(s, r, path, n, p, c, &out, C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	return UnpackResult{digest(&out.manifest), uint64(out.entries), uint64(out.in_ledger), takeReport(report)}, a.err
}
