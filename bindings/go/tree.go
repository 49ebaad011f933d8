package treering

import (
	"context"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// CloneOptions says how a tree is copied.
type CloneOptions struct {
	// Sync makes everything durable before Clone returns.
	Sync bool
	// Threads to use; 0 for one per processor.
	Threads int
}

// CloneResult is a tree that was copied.
type CloneResult struct {
	// Manifest digest of the image that both trees are bound to.
	Manifest string
	// Entries of the copy, its root not counted.
	Entries uint64
	// InLedger is for how many of them the store keeps what the disk did not take.
	InLedger uint64
	// Notes about what was left out (sockets) and what was lost.
	Notes []Note
}

// Clone copies a directory that was unpacked or committed, with its record in the store, to one that must not exist or
// be empty. The next commit or comparison of the copy reads only what changes; blocks are shared where the filesystem can.
// After an error there is no half of a copy. Options may be nil.
func (s *Store) Clone(ctx context.Context, tree, dir string, options *CloneOptions) (*CloneResult, error) {
	r, err := ffi.Clone(ctx, s.h(), tree, dir, ffi.CloneOptions(or(options)))
	return result(CloneResult{Manifest: r.Manifest, Entries: r.Entries, InLedger: r.InLedger, Notes: notes(r.Notes)}, err)
}

// CheckoutOptions says how a directory becomes another image.
type CheckoutOptions struct {
	// Discard throws away what changed in the directory since it was unpacked, committed or checked out.
	Discard bool
	// DryRun only says what would happen.
	DryRun bool
	// DenyLoss makes it ErrLoss when an attribute can be kept neither on disk nor in the store.
	DenyLoss bool
	// Sync makes everything durable before Checkout returns.
	Sync bool
	// Platform of a multi-platform image; this machine's by default.
	Platform string
	// MaxRatio is how many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted; 0 for 1000.
	MaxRatio uint64
	// Threads to use; 0 for one per processor.
	Threads int
}

// CheckoutResult is a directory that was checked out.
type CheckoutResult struct {
	// Manifest digest of the image that the directory now is, or would be.
	Manifest string
	// Written entries were made or got another content, Updated ones got other metadata or names, Removed ones are gone, and
	// Kept ones are as they were, the root counted.
	Written, Updated, Removed, Kept uint64
	// InLedger is for how many entries the store keeps what the disk did not take.
	InLedger uint64
	// Changes are the paths that are, or would be, different, with their Kind alone; none when the directory was empty.
	Changes []Change
	// Notes about what was lost.
	Notes []Note
}

// Checkout makes a directory what an image says, in place: only what differs is touched. The directory came from whatever
// image; an empty or missing one is unpacked to. The reference "-" is the image that it was before its present one. Changes
// that are in no image are ErrInUse, unless the options discard them. After an error commits and comparisons refuse the
// directory until the next checkout has finished. Options may be nil.
func (s *Store) Checkout(ctx context.Context, reference, dir string, options *CheckoutOptions) (*CheckoutResult, error) {
	return checkedOut(ffi.Checkout(ctx, s.h(), reference, dir, ffi.CheckoutOptions(or(options))))
}

func checkedOut(r ffi.CheckoutResult, err error) (*CheckoutResult, error) {
	if err != nil {
		return nil, wrap(err)
	}
	out := &CheckoutResult{Manifest: r.Manifest, Written: r.Written, Updated: r.Updated, Removed: r.Removed, Kept: r.Kept,
		InLedger: r.InLedger, Notes: notes(r.Notes)}
	for _, c := range r.Changes {
		out.Changes = append(out.Changes, Change{Kind: ChangeKind(c.Kind), Path: c.Path})
	}
	return out, nil
}
