// Package treering grows OCI images from a directory, with no root and no daemon. It is the Go face of libtreering.
//
// Every type may be used from any goroutine. What was opened is to be closed; the garbage collector closes what was
// forgotten, some time later. Paths are byte strings as Go has them: they need not be UTF-8.
//
// Operations that may take long have a [context.Context], which cancels them, and report what they have done so far to
// the function of [WithProgress]. Errors are of type [*Error].
package treering

import (
	"context"
	"encoding/json"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Version is the version of the library that is loaded.
func Version() string { return ffi.Version() }

// Info finds out by trying what this machine can do: a JSON object with version, abi, platform, kernel, uid, processors and
// abilities. See [Store.Info] for the filesystem a store is on.
func Info() (json.RawMessage, error) {
	data, err := ffi.Info(nil)
	return data, wrap(err)
}

// Progress is what an operation has done so far.
type Progress struct {
	// Entries of a filesystem or tar handled.
	Entries uint64
	// BytesRead of content, uncompressed.
	BytesRead uint64
	// BytesWritten to the result: compressed, or into files.
	BytesWritten uint64
	// BytesTotal of content that will be read; 0 while unknown.
	BytesTotal uint64
}

// WithProgress makes every operation that is given the context call f: ten times a second while it runs, and once when it
// has ended. f is called by one goroutine per operation, and never after the operation has returned. A panic in it cancels
// the operation and becomes its error.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	return ffi.WithProgress(ctx, 100*time.Millisecond, func(p ffi.Progress) { f(Progress(p)) })
}

// Note is one thing an operation could not keep or left out.
type Note struct {
	// Loss says that an attribute was lost; otherwise something was left out, because no layer can hold it.
	Loss bool
	// Path below the root of the tree.
	Path string
	// Attribute that was lost: the name of an extended attribute, or mtime.
	Attribute string
	// Reason in plain words.
	Reason string
}

func notes(list []ffi.Note) []Note {
	var out []Note
	for _, n := range list {
		out = append(out, Note(n))
	}
	return out
}

// or gives the options, or their defaults for nil.
func or[T any](options *T) T {
	if options == nil {
		return *new(T)
	}
	return *options
}
