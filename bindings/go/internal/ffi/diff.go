package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"unsafe"
)

// DiffOptions as the public package has them.
type DiffOptions struct {
	Owner, OwnerFrom          string
	Compare, Platform         string
	ExactTimes, OneFileSystem bool
	Threads                   int
	Reverse, IgnoreTimes      bool
	Exclude                   []string
	IgnoreFile                string
}

func (a *arguments) diff(o DiffOptions) (p C.treering_diff_options) {
	p.owner, p.owner_from, p.compare, p.platform = a.text(o.Owner), a.slice(o.OwnerFrom), a.text(o.Compare), a.text(o.Platform)
	p.exact_times, p.one_file_system = C.bool(o.ExactTimes), C.bool(o.OneFileSystem)
	p.threads = a.threads(o.Threads)
	p.reverse, p.ignore_times = C.bool(o.Reverse), C.bool(o.IgnoreTimes)
	p.exclude, p.exclude_len = a.texts(o.Exclude)
	p.ignore_file = a.slice(o.IgnoreFile)
	return p
}

type diffCall func(o *C.treering_diff_options, size C.size_t, c *C.treering_control, out **C.treering_diff, report **C.treering_report,
	e **C.treering_error) C.treering_status

func (a *arguments) compare(ctx context.Context, o DiffOptions, f diffCall) (*Handle, []Note, error) {
	options := a.diff(o)
	var out *C.treering_diff
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return f(&options, C.size_t(unsafe.Sizeof(options)), c, &out, &report, e)
		})
	}
	notes := takeReport(report)
	if out == nil {
		return nil, nil, a.err
	}
	return newHandle("diff", unsafe.Pointer(out), func(p unsafe.Pointer) { C.treering_diff_free((*C.treering_diff)(p)) }),
		notes, a.err
}

// DiffTree compares a directory with its base.
func DiffTree(ctx context.Context, store *Handle, tree, base string, o DiffOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	s, b := (*C.treering_store)(a.use(store)), a.text(base)
	path, n := a.bytes(tree)
	return a.compare(ctx, o, func(o *C.treering_diff_options, size C.size_t, c *C.treering_control,
		out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_tree(s, path, n, b, o, size, c, out, report, e)
	})
}

// DiffTrees compares two directories; the store may be nil.
func DiffTrees(ctx context.Context, store *Handle, before, after string, o DiffOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	s := a.store(store)
	b, bn := a.bytes(before)
	p, n := a.bytes(after)
	return a.compare(ctx, o, func(o *C.treering_diff_options, size C.size_t, c *C.treering_control,
		out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_trees(s, b, bn, p, n, o, size, c, out, report, e)
	})
}

// DiffSnapshots compares two snapshots; before may be nil.
func DiffSnapshots(before, after *Handle, tree string, o DiffOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	b, s := (*C.treering_snapshot)(a.optional(before)), (*C.treering_snapshot)(a.use(after))
	p, n := a.bytes(tree)
	diff, _, err := a.compare(context.Background(), o, func(o *C.treering_diff_options, size C.size_t, _ *C.treering_control,
		out **C.treering_diff, _ **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_snapshots(b, s, p, n, o, size, out, e)
	})
	return diff, err
}

// DiffImages compares two images; before may be empty.
func DiffImages(ctx context.Context, store *Handle, before, after string, o DiffOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	s, b, r := (*C.treering_store)(a.use(store)), a.text(before), a.always(after)
	diff, _, err := a.compare(ctx, o, func(o *C.treering_diff_options, size C.size_t, c *C.treering_control,
		out **C.treering_diff,
		_ **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_images(s, b, r, o, size, c, out, e)
	})
	return diff, err
}

// DiffOverlay finds what the upper directory of an overlay changes; the store may be nil.
func DiffOverlay(ctx context.Context, store *Handle, upper string, lowers []string, o DiffOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	s := a.store(store)
	u, un := a.bytes(upper)
	l, ln := a.slices(lowers)
	return a.compare(ctx, o, func(o *C.treering_diff_options, size C.size_t, c *C.treering_control,
		out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_overlay(s, u, un, l, ln, o, size, c, out, report, e)
	})
}

// Change is one changed path.
type Change struct {
	Path               string
	Kind               int32
	Reasons            uint32
	OldIndex, NewIndex uint32
	Opaque             bool
}

// batch is how many changes or entries cross the boundary at once.
const batch = 256

// Changes reads the changes of a diff in batches, from the start.
func Changes(h *Handle, yield func(Change) bool) error {
	buffer := make([]C.treering_change, batch)
	for first := true; ; first = false {
		changes, err := nextChanges(h, buffer, first)
		if err != nil || len(changes) == 0 {
			return err
		}
		for _, change := range changes {
			if !yield(change) {
				return nil
			}
		}
	}
}

func nextChanges(h *Handle, buffer []C.treering_change, rewind bool) ([]Change, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_diff)(a.use(h))
	if rewind {
		a.do(func(e **C.treering_error) C.treering_status { return C.treering_diff_rewind(p, e) })
	}
	var n C.size_t
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_diff_next(p, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	out := make([]Change, n)
	for i := range out {
		c := &buffer[i]
		out[i] = Change{Path: goString(c.path, c.path_len), Kind: int32(c.kind), Reasons: uint32(c.reasons),
			OldIndex: uint32(c.old_index), NewIndex: uint32(c.new_index), Opaque: bool(c.opaque)}
	}
	return out, a.err
}

// DiffStat is the changes in numbers.
type DiffStat struct{ Added, Changed, Deleted, Bytes uint64 }

// CountChanges counts the changes of a diff.
func CountChanges(h *Handle) (DiffStat, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_diff)(a.use(h))
	var out C.treering_diff_stat_result
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_diff_stat(p, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return DiffStat{Added: uint64(out.added), Changed: uint64(out.changed), Deleted: uint64(out.deleted),
		Bytes: uint64(out.bytes)}, a.err
}

// DiffSnapshot is a side of a diff.
func DiffSnapshot(h *Handle, old bool) (*Handle, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_diff)(a.use(h))
	var out *C.treering_snapshot
	a.do(func(e **C.treering_error) C.treering_status {
		if old {
			return C.treering_diff_old_snapshot(p, &out, e)
		}
		return C.treering_diff_new_snapshot(p, &out, e)
	})
	if a.err != nil {
		return nil, a.err
	}
	return snapshotHandle(out), nil
}
