package treering

import (
	"errors"
	"io/fs"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Code says what kind of failure an [Error] is. A code is an error itself, to be looked for with [errors.Is].
type Code int32

// The codes. Their numbers are stable; take an unknown one for ErrInternal.
const (
	// ErrInvalidArgument: an argument, option, name or reference is not usable as given, or an object is closed.
	ErrInvalidArgument Code = 1
	// ErrNotFound: the named file, image, reference or blob does not exist.
	ErrNotFound Code = 2
	// ErrAlreadyExists: something by that name is already there.
	ErrAlreadyExists Code = 3
	// ErrPermissionDenied: the system refused.
	ErrPermissionDenied Code = 4
	// ErrIO: an input or output operation failed for another reason.
	ErrIO Code = 5
	// ErrNoSpace: no space or quota is left.
	ErrNoSpace Code = 6
	// ErrChanged: a file changed, grew, shrank or vanished while it was being read.
	ErrChanged Code = 7
	// ErrCorrupt: data does not match its digest, its size, or its format.
	ErrCorrupt Code = 8
	// ErrLimit: an input asked for more than a configured cap allows.
	ErrLimit Code = 9
	// ErrUnsupported: this machine, filesystem, format or version of the library cannot do what was asked.
	ErrUnsupported Code = 10
	// ErrBusy: another process holds the lock, or the object serves one caller at a time.
	ErrBusy Code = 11
	// ErrInUse: the object is still needed by another one.
	ErrInUse Code = 12
	// ErrCancelled: the context was done. The context's own error is found with errors.Is too.
	ErrCancelled Code = 13
	// ErrCallback: a reader, writer or progress function failed. Its own error is found with errors.Is too.
	ErrCallback Code = 14
	// ErrInternal: a defect in treering itself.
	ErrInternal Code = 15
	// ErrLoss: an attribute cannot be kept and the caller demanded that nothing be lost.
	ErrLoss Code = 16
	// ErrCommandFailed: a command that was run failed; [Error.ExitCode] says how.
	ErrCommandFailed Code = 17
	// ErrNetwork: a server could not be reached, or the connection to it broke.
	ErrNetwork Code = 18
	// ErrUnauthorized: a registry refused the credentials, or asks for some.
	ErrUnauthorized Code = 19
	// ErrSyntax: a Dockerfile or another text is not well formed; [Error.Location] says where.
	ErrSyntax Code = 20
)

// Error is the name of the code, as in "not-found".
func (c Code) Error() string { return "treering: " + ffi.KindName(int32(c)) }

// ErrClosed is found in the errors of everything done with an object after it was closed, closing it again included.
var ErrClosed = ffi.ErrClosed

// PanicError is found, with [errors.As], in the error of an operation after a panic in its reader, writer or progress function.
type PanicError = ffi.PanicError

// Error is why a call failed.
type Error struct {
	// Code to decide by.
	Code Code
	// Kind is the name of the code, as in "not-found".
	Kind string
	// Operation that failed, a short verb phrase.
	Operation string
	// Path, reference or digest it failed at, as bytes; empty when there is none.
	Path string
	// Message says what went wrong, without operation and path.
	Message string
	// Hint says what can be done about it; empty when nothing is known.
	Hint string
	// Causes, the nearest first, as texts.
	Causes []string
	// ExitCode of the command that failed: 128 and the number of the signal for one that a signal ended. -1 where no command
	// failed.
	ExitCode int
	// Location in a text that is at fault; nil where there is none.
	Location *Location

	text  string
	cause error
}

// Location is a place in a text, such as a line of a Dockerfile.
type Location struct {
	// File as it was given.
	File string
	// Line, counted from 1. Column, counted from 1 in bytes; 0 for the whole line.
	Line, Column int
	// Text of the line, without its end.
	Text string
}

// Error is operation, path and message in one line.
func (e *Error) Error() string { return e.text }

// Is makes errors.Is find the code, and those of io/fs that mean the same.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == ErrNotFound
	case fs.ErrExist:
		return e.Code == ErrAlreadyExists
	case fs.ErrPermission:
		return e.Code == ErrPermissionDenied
	}
	return target == error(e.Code)
}

// Unwrap is the error of Go's side behind it: what a reader, writer or progress function failed with,
// the context's cause and its own error, or ErrClosed.
func (e *Error) Unwrap() error { return e.cause }

func wrap(err error) error {
	var e *ffi.Error
	if !errors.As(err, &e) {
		return err
	}
	cause := e.Cause
	if e.Underlying != nil {
		cause = errors.Join(cause, wrap(e.Underlying))
	}
	return &Error{Code: Code(e.Status), Kind: e.Kind, Operation: e.Operation, Path: e.Path, Message: e.Message,
		Hint: e.Hint, Causes: e.Causes, ExitCode: e.ExitCode, Location: (*Location)(e.Location), text: e.Text, cause: cause}
}

// result is nil where there is an error.
func result[T any](value T, err error) (*T, error) {
	if err != nil {
		return nil, wrap(err)
	}
	return &value, nil
}
