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
		out = append(out, Note{Loss: note.kind == C.TREERING_NOTE_LOSS, Path: goString(note.path, note.path_len),
			Attribute: goString(note.attribute, note.attribute_len), Reason: C.GoString(note.reason)})
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
	OnlyIfChanged                   bool
	IgnoreTimes                     bool
	Exclude                         []string
	IgnoreFile                      string
}

func (a *arguments) commit(o CommitOptions) (p C.treering_commit_options) {
	p.base, p.compare, p.owner, p.owner_from = a.text(o.Base), a.text(o.Compare), a.text(o.Owner), a.slice(o.OwnerFrom)
	p.compression, p.level = a.text(o.Compression), a.level(o.Level)
	p.nanoseconds, p.squash, p.one_file_system = C.bool(o.Nanoseconds), C.bool(o.Squash), C.bool(o.OneFileSystem)
	p.clamp_mtime, p.created = a.seconds(o.ClampMtime), a.seconds(o.Created)
	p.author, p.message, p.platform = a.text(o.Author), a.text(o.Message), a.text(o.Platform)
	p.changes, p.changes_len = a.texts(o.Changes)
	p.annotations, p.annotations_len = a.pairs(o.Annotations)
	p.lowers, p.lowers_len = a.slices(o.Lowers)
	p.ignore_times, p.ignore_file = C.bool(o.IgnoreTimes), a.slice(o.IgnoreFile)
	p.exclude, p.exclude_len = a.texts(o.Exclude)
	p.threads, p.only_if_changed = a.threads(o.Threads), C.bool(o.OnlyIfChanged)
	return p
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
	options := a.commit(o)
	var out C.treering_commit_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_commit(s, path, n, name, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
				C.size_t(unsafe.Sizeof(out)), &report, e)
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

func (a *arguments) apply(o ApplyOptions) (p C.treering_apply_options) {
	p.threads, p.platform, p.owner_xattr = a.threads(o.Threads), a.text(o.Platform), a.text(o.OwnerXattr)
	p.deny_loss, p.lenient, p.sync = C.bool(o.DenyLoss), C.bool(o.Lenient), C.bool(o.Sync)
	p.max_bytes, p.max_entries, p.max_ratio = C.uint64_t(o.MaxBytes), C.uint64_t(o.MaxEntries), C.uint64_t(o.MaxRatio)
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
	s, r, options := (*C.treering_store)(a.use(store)), a.always(reference), a.apply(o)
	path, n := a.bytes(dir)
	var out C.treering_unpack_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_unpack(s, r, path, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
				C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	return UnpackResult{Manifest: digest(&out.manifest), Entries: uint64(out.entries), InLedger: uint64(out.in_ledger),
		Notes: takeReport(report)}, a.err
}
