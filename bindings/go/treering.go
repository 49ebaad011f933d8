// Package treering grows OCI images from a directory, with no root and no daemon. It is the Go binding of libtreering.
//
// Every type may be used from any goroutine. What was opened is to be closed; the garbage collector closes what was
// forgotten, some time later. Paths are byte strings as Go has them: they need not be UTF-8.
//
// Operations that may take long have a [context.Context], which cancels them, and report what they have done so far to
// the function of [WithProgress]. Errors are of type [*Error].
package treering

import (
	"context"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Version is the version of the library that is loaded.
func Version() string { return ffi.Version() }

// Machine is what this build is, what this machine can do, and what a store holds.
type Machine struct {
	// Version of the library and of its C interface.
	Version string `json:"version"`
	ABI     uint32 `json:"abi"`
	// Platform of this machine, as in linux/amd64.
	Platform string `json:"platform"`
	// Kernel is its release.
	Kernel string `json:"kernel"`
	// UID the process runs as.
	UID uint32 `json:"uid"`
	// Processors the process may use.
	Processors int `json:"processors"`
	// Abilities by name, as in set_owners.
	Abilities map[string]Ability `json:"abilities"`
	// Store that was asked; nil when none was.
	Store *StoreFacts `json:"store"`
}

// Ability is one thing that was tried.
type Ability struct {
	Works bool `json:"works"`
	// Remark says what it is good for, or why it does not work.
	Remark string `json:"remark"`
}

// StoreFacts is what [Store.Info] says about the store itself.
type StoreFacts struct {
	// Root is where it is; bytes that are not text are escaped.
	Root   string `json:"root"`
	Images int    `json:"images"`
	Trees  int    `json:"trees"`
}

// Info finds out by trying what this machine can do. See [Store.Info] for the filesystem a store is on.
func Info() (*Machine, error) { return decode[Machine](ffi.Info(nil)) }

// Progress is what an operation has done so far.
type Progress struct {
	// Entries handled: of trees and tars, files of archives, blobs.
	Entries uint64
	// BytesRead of input, as it is where it is read: files with their size, blobs and archives compressed as they are, a layer
	// that is made with the size of its tar.
	BytesRead uint64
	// BytesWritten to the result: of blobs, archives or files.
	BytesWritten uint64
	// BytesTotal of input that will have been read at the end, as far as is known; 0 while nothing is. Equals BytesRead when the
	// operation has succeeded.
	BytesTotal uint64
}

// WithProgress makes every operation that is given the context call f: ten times a second while it runs, and once when it
// has ended. f is called by one goroutine per operation, and never after the operation has returned. A panic in it, and
// runtime.Goexit (which testing.T.FailNow calls), cancel the operation; its error is then ErrCallback. When that happens
// in the last call, what the operation made is there all the same.
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
