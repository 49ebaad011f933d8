package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"unsafe"
)

// CloneOptions as the public package has them.
type CloneOptions struct {
	Sync    bool
	Threads int
}

// CloneResult is a tree that was copied.
type CloneResult struct {
	Manifest          string
	Entries, InLedger uint64
	Notes             []Note
}

// Clone copies a tree with its record in the store.
func Clone(ctx context.Context, store *Handle, tree, dir string, o CloneOptions) (CloneResult, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	from, fromLen := a.bytes(tree)
	to, toLen := a.bytes(dir)
	options := C.treering_clone_options{threads: a.threads(o.Threads), sync: C.bool(o.Sync)}
	var out C.treering_clone_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_clone(s, from, fromLen, to, toLen, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
				C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	return CloneResult{Manifest: digest(&out.manifest), Entries: uint64(out.entries), InLedger: uint64(out.in_ledger),
		Notes: takeReport(report)}, a.err
}

// CheckoutOptions as the public package has them.
type CheckoutOptions struct {
	Discard, DryRun, DenyLoss, Sync bool
	Platform                        string
	MaxRatio                        uint64
	Threads                         int
}

func (a *arguments) checkout(o CheckoutOptions) C.treering_checkout_options {
	return C.treering_checkout_options{discard: C.bool(o.Discard), dry_run: C.bool(o.DryRun), deny_loss: C.bool(o.DenyLoss),
		sync: C.bool(o.Sync), platform: a.text(o.Platform), max_ratio: C.uint64_t(o.MaxRatio), threads: a.threads(o.Threads)}
}

// PathChange is a path that a checkout changes.
type PathChange struct {
	Kind int32
	Path string
}

// CheckoutResult is a directory that was checked out.
type CheckoutResult struct {
	Manifest                                  string
	Written, Updated, Removed, Kept, InLedger uint64
	Changes                                   []PathChange
	Notes                                     []Note
}

// Checkout makes a directory what an image says.
func Checkout(ctx context.Context, store *Handle, reference, dir string, o CheckoutOptions) (CheckoutResult, error) {
	var a arguments
	defer a.free()
	s, r := (*C.treering_store)(a.use(store)), a.always(reference)
	path, n := a.bytes(dir)
	options := a.checkout(o)
	var out C.treering_checkout_result
	var changes *C.treering_changes
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_checkout(s, r, path, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
				C.size_t(unsafe.Sizeof(out)), &changes, &report, e)
		})
	}
	return checkoutResult(&out, changes, report), a.err
}

func checkoutResult(out *C.treering_checkout_result, changes *C.treering_changes, report *C.treering_report) CheckoutResult {
	return CheckoutResult{Manifest: digest(&out.manifest), Written: uint64(out.written), Updated: uint64(out.updated),
		Removed: uint64(out.removed), Kept: uint64(out.kept), InLedger: uint64(out.in_ledger), Changes: takeChanges(changes),
		Notes: takeReport(report)}
}

func takeChanges(changes *C.treering_changes) []PathChange {
	if changes == nil {
		return nil
	}
	defer C.treering_changes_free(changes)
	var out []PathChange
	buffer := make([]C.treering_change, batch)
	for {
		var n C.size_t
		C.treering_changes_get(changes, C.size_t(len(out)), &buffer[0], C.size_t(unsafe.Sizeof(buffer[0])), C.size_t(len(buffer)),
			&n, nil)
		if n == 0 {
			return out
		}
		for i := range buffer[:n] {
			out = append(out, PathChange{int32(buffer[i].kind), goString(buffer[i].path, buffer[i].path_len)})
		}
	}
}
