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
}

func (a *arguments) diff(o DiffOptions) *C.treering_diff_options {
	var p *C.treering_diff_options
	a.set(func(e **C.treering_error) C.treering_status { return C.treering_diff_options_new(&p, e) })
	a.undo = append(a.undo, func() { C.treering_diff_options_free(p) })
	owner, compare, platform := a.text(o.Owner), a.text(o.Compare), a.text(o.Platform)
	from, size := a.bytes(o.OwnerFrom)
	threads := a.threads(o.Threads)
	for _, set := range []func(e **C.treering_error) C.treering_status{
		func(e **C.treering_error) C.treering_status { return C.treering_diff_options_set_owner(p, owner, e) },
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_owner_from(p, from, size, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_compare(p, compare, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_platform(p, platform, e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_exact_times(p, C.bool(o.ExactTimes), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_one_file_system(p, C.bool(o.OneFileSystem), e)
		},
		func(e **C.treering_error) C.treering_status {
			return C.treering_diff_options_set_threads(p, threads, e)
		},
	} {
		a.set(set)
	}
	return p
}

type diffCall func(o *C.treering_diff_options, c *C.treering_control, out **C.treering_diff, report **C.treering_report,
	e **C.treering_error) C.treering_status

func (a *arguments) compare(ctx context.Context, o DiffOptions, f diffCall) (*Handle, []Note, error) {
	options := a.diff(o)
	var out *C.treering_diff
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return f(options, c, &out, &report, e)
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
	return a.compare(ctx, o, func(o *C.treering_diff_options, c *C.treering_control, out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_tree(s, path, n, b, o, c, out, report, e)
	})
}

// DiffTrees compares two directories; the store may be nil.
func DiffTrees(ctx context.Context, store *Handle, before, after string, o DiffOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	s := a.store(store)
	b, bn := a.bytes(before)
	p, n := a.bytes(after)
	return a.compare(ctx, o, func(o *C.treering_diff_options, c *C.treering_control, out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_trees(s, b, bn, p, n, o, c, out, report, e)
	})
}

// DiffSnapshots compares two snapshots; before may be nil.
func DiffSnapshots(before, after *Handle, tree string, o DiffOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	b, s := (*C.treering_snapshot)(a.optional(before)), (*C.treering_snapshot)(a.use(after))
	p, n := a.bytes(tree)
	diff, _, err := a.compare(context.Background(), o, func(o *C.treering_diff_options, _ *C.treering_control,
		out **C.treering_diff, _ **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_snapshots(b, s, p, n, o, out, e)
	})
	return diff, err
}

// DiffImages compares two images; before may be empty.
func DiffImages(ctx context.Context, store *Handle, before, after string, o DiffOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	s, b, r := (*C.treering_store)(a.use(store)), a.text(before), a.always(after)
	diff, _, err := a.compare(ctx, o, func(o *C.treering_diff_options, c *C.treering_control, out **C.treering_diff,
		_ **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_images(s, b, r, o, c, out, e)
	})
	return diff, err
}

// DiffOverlay finds what the upper directory of an overlay changes.
func DiffOverlay(ctx context.Context, upper string, lowers []string, o DiffOptions) (*Handle, []Note, error) {
	var a arguments
	defer a.free()
	u, un := a.bytes(upper)
	l, ln := a.slices(lowers)
	return a.compare(ctx, o, func(o *C.treering_diff_options, c *C.treering_control, out **C.treering_diff,
		report **C.treering_report, e **C.treering_error) C.treering_status {
		return C.treering_diff_overlay(u, un, l, ln, o, c, out, report, e)
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
		a.set(func(e **C.treering_error) C.treering_status { return C.treering_diff_rewind(p, e) })
	}
	var n C.size_t
	a.set(func(e **C.treering_error) C.treering_status {
		return C.treering_diff_next(p, &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)), &n, e)
	})
	out := make([]Change, n)
	for i := range out {
		c := &buffer[i]
		out[i] = Change{goString(c.path, c.path_len), int32(c.kind), uint32(c.reasons), uint32(c.old_index),
			uint32(c.new_index), bool(c.opaque)}
	}
	return out, a.err
}

// DiffStat is the changes in numbers.
func DiffStat(h *Handle) (added, changed, deleted, bytes uint64, err error) {
	var a arguments
	defer a.free()
	p := (*C.treering_diff)(a.use(h))
	var out C.treering_diff_numbers
	a.set(func(e **C.treering_error) C.treering_status {
		return C.treering_diff_stat(p, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return uint64(out.added), uint64(out.changed), uint64(out.deleted), uint64(out.bytes), a.err
}

// DiffSnapshot is a side of a diff.
func DiffSnapshot(h *Handle, old bool) (*Handle, error) {
	var a arguments
	defer a.free()
	p := (*C.treering_diff)(a.use(h))
	var out *C.treering_snapshot
	a.set(func(e **C.treering_error) C.treering_status {
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
