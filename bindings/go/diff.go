package treering

import (
	"context"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// DiffOptions says how trees are compared.
type DiffOptions struct {
	// Owner is the owner of the files: root, keep, UID:GID or map:IMAGE:DISK:COUNT[,...].
	Owner string
	// OwnerFrom is another tool's record of owners to go by: none, rootlesscontainers, override-stat or fakeroot:FILE.
	OwnerFrom string
	// Compare is how far metadata is trusted: auto, the default; metadata for size and times alone; content for nothing.
	Compare string
	// Platform of a multi-platform base; this machine's by default.
	Platform string
	// ExactTimes takes times that agree in the second for different when one has no fraction.
	ExactTimes bool
	// OneFileSystem takes mount points for empty directories.
	OneFileSystem bool
	// Threads to use; 0 for one per processor.
	Threads int
	// Reverse turns the sides of [Store.DiffTree] around: what makes the tree into its base.
	Reverse bool
	// IgnoreTimes lets times say nothing: what differs in its time alone is compared by its content.
	IgnoreTimes bool
	// Exclude has patterns of paths to leave out, as in a .dockerignore: of what is left out nothing changes.
	Exclude []string
	// IgnoreFile is a file of such patterns, which count before those of Exclude.
	IgnoreFile string
}

// Diff is the changes from one tree to another.
type Diff struct {
	// Notes about what cannot be in a layer.
	Notes []Note

	handle    *ffi.Handle
	iterating atomic.Bool
}

func newDiff(handle *ffi.Handle, list []ffi.Note, err error) (*Diff, error) {
	if err != nil {
		return nil, wrap(err)
	}
	return &Diff{Notes: notes(list), handle: handle}, nil
}

// DiffTree compares a directory with its base: what docker diff shows of a container. Base is as in [CommitOptions].
func (s *Store) DiffTree(ctx context.Context, tree, base string, options *DiffOptions) (*Diff, error) {
	return newDiff(ffi.DiffTree(ctx, s.h(), tree, base, ffi.DiffOptions(or(options))))
}

// DiffTrees compares two directories, reading the content of files with the same metadata. [Store.DiffTrees] also takes what
// the disk could not hold of them, owners without privileges among it, from a store.
func DiffTrees(ctx context.Context, before, after string, options *DiffOptions) (*Diff, error) {
	return newDiff(ffi.DiffTrees(ctx, nil, before, after, ffi.DiffOptions(or(options))))
}

// DiffTrees is the function of that name, with what the store has recorded of the two directories.
func (s *Store) DiffTrees(ctx context.Context, before, after string, options *DiffOptions) (*Diff, error) {
	if s == nil {
		// Not to be taken for a comparison without a store.
		return nil, wrap(s.h().Close())
	}
	return newDiff(ffi.DiffTrees(ctx, s.handle, before, after, ffi.DiffOptions(or(options))))
}

// DiffImages compares two images by their layers. An empty before stands for nothing: everything is added then.
func (s *Store) DiffImages(ctx context.Context, before, after string, options *DiffOptions) (*Diff, error) {
	handle, err := ffi.DiffImages(ctx, s.h(), before, after, ffi.DiffOptions(or(options)))
	return newDiff(handle, nil, err)
}

// DiffOverlay finds what an overlay's upper directory changes over its lower ones, topmost first, without mounting it.
// [Store.DiffOverlay] also takes the owners that a store has for the lower directories.
func DiffOverlay(ctx context.Context, upper string, lowers []string, options *DiffOptions) (*Diff, error) {
	return newDiff(ffi.DiffOverlay(ctx, nil, upper, lowers, ffi.DiffOptions(or(options))))
}

// DiffOverlay is the function of that name, with the owners that the store has for the lower directories.
func (s *Store) DiffOverlay(ctx context.Context, upper string, lowers []string, options *DiffOptions) (*Diff, error) {
	if s == nil {
		// Not to be taken for a comparison without a store.
		return nil, wrap(s.h().Close())
	}
	return newDiff(ffi.DiffOverlay(ctx, s.handle, upper, lowers, ffi.DiffOptions(or(options))))
}

// DiffSnapshots compares two snapshots by what they hold. Before may be nil, for nothing. Tree is the directory that after
// is of, from which a layer can then be written; empty for none.
func DiffSnapshots(before, after *Snapshot, tree string, options *DiffOptions) (*Diff, error) {
	handle, err := ffi.DiffSnapshots(before.h(), after.h(), tree, ffi.DiffOptions(or(options)))
	return newDiff(handle, nil, err)
}

func (d *Diff) h() *ffi.Handle {
	if d == nil {
		return nil
	}
	return d.handle
}

// Close frees the diff.
func (d *Diff) Close() error { return wrap(d.h().Close()) }

// ChangeKind is what happened to a path.
type ChangeKind int32

// The kinds.
const (
	Added   ChangeKind = 1
	Changed ChangeKind = 2
	Deleted ChangeKind = 3
)

// String is the letter docker diff shows: A, C or D.
func (k ChangeKind) String() string {
	if k < Added || k > Deleted {
		return "?"
	}
	return "?ACD"[k : k+1]
}

// Reasons are why a path counts as changed, or-ed together.
type Reasons uint32

// The reasons.
const (
	ReasonType    Reasons = 1 << iota // another kind of file
	ReasonContent                     // other content
	ReasonMode                        // other permissions
	ReasonOwner                       // other owner or group
	ReasonMtime                       // other time of change
	ReasonXattrs                      // other extended attributes
	ReasonTarget                      // the symbolic link leads elsewhere
	ReasonDevice                      // other device numbers
	ReasonLinks                       // hard-linked with other files
	ReasonParent                      // an entry in the directory came or went
	ReasonSuspect                     // touched, and the content could not be compared
)

var reasonNames = [...]string{"type", "content", "mode", "owner", "mtime", "xattrs", "target", "device", "links", "parent", "suspect"}

// String lists the reasons by name.
func (r Reasons) String() string {
	var names []string
	for i, name := range reasonNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// NoEntry stands for "no entry" in a change's indexes.
const NoEntry = ^uint32(0)

// Change is one changed path.
type Change struct {
	// Path, components joined by slashes, without a leading one.
	Path string
	// Kind of change.
	Kind ChangeKind
	// Reasons why it counts as changed.
	Reasons Reasons
	// OldIndex and NewIndex are its numbers in the two snapshots, or NoEntry.
	OldIndex, NewIndex uint32
	// Opaque directories hide everything the layers below have in them.
	Opaque bool
}

// String is the change as docker diff shows it.
func (c Change) String() string { return c.Kind.String() + " /" + c.Path }

// Changes iterates over the changes, in byte order of their paths, from the start each time. One loop per diff at a time:
// a second one meanwhile gets ErrBusy. An error is the last thing a loop gets.
func (d *Diff) Changes() iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if d != nil {
			if !d.iterating.CompareAndSwap(false, true) {
				yield(Change{}, wrap(ffi.NewError(ffi.Busy, "iterate changes", "another loop is over this diff", nil)))
				return
			}
			defer d.iterating.Store(false)
		}
		err := ffi.Changes(d.h(), func(c ffi.Change) bool {
			return yield(Change{Path: c.Path, Kind: ChangeKind(c.Kind), Reasons: Reasons(c.Reasons), OldIndex: c.OldIndex,
				NewIndex: c.NewIndex, Opaque: c.Opaque}, nil)
		})
		if err != nil {
			yield(Change{}, wrap(err))
		}
	}
}

// DiffStat is the changes in numbers.
type DiffStat struct {
	// Added, Changed and Deleted paths; a deleted directory counts once.
	Added, Changed, Deleted uint64
	// Bytes in the added and changed regular files.
	Bytes uint64
}

// Stat counts the changes.
func (d *Diff) Stat() (DiffStat, error) {
	stat, err := ffi.CountChanges(d.h())
	return DiffStat(stat), wrap(err)
}

// Old is the snapshot that was compared with; ErrNotFound when it was nothing.
func (d *Diff) Old() (*Snapshot, error) { return d.side(true) }

// New is the snapshot of the newer tree.
func (d *Diff) New() (*Snapshot, error) { return d.side(false) }

func (d *Diff) side(old bool) (*Snapshot, error) {
	handle, err := ffi.DiffSnapshot(d.h(), old)
	return result(Snapshot{handle: handle}, err)
}
