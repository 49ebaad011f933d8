package treering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Cmd is a command in a tree or a container, in the shape of [os/exec.Cmd]. [Store.Command], [Container.Command],
// [Container.Exec] and [Container.Attach] make one; it runs once.
type Cmd struct {
	// Args are the program and its arguments; none for the command of the container or the image.
	Args []string
	// Env has more variables, NAME=VALUE; a name alone takes the variable away.
	Env []string
	// Dir is where it starts, and User the USER[:GROUP] that it runs as; the container's or the image's by default.
	Dir, User string
	// Stdin is what it reads; nil is the null device. A file is handed over as it is; from anything else a goroutine copies, which Wait
	// does not wait for.
	Stdin io.Reader
	// Stdout and Stderr are what it writes to; nil is the null device. Where both are the same, they get what is written in its order.
	Stdout, Stderr io.Writer
	// Rung is the only way to run it; the best that works by default. Not for Exec.
	Rung string
	// Helper is the program that it is started with, treering-init or treering; looked for when empty. Not for Exec.
	Helper string
	// TTY gives it a terminal of its own for all three streams: what it writes goes to Stdout, and Stdin is passed on to it. A container's
	// own command also has one where the container says so. The terminal of this process is left as it is: to pass every key on, put that
	// into raw mode (golang.org/x/term).
	TTY bool
	// Rows and Columns are the size that the terminal has when the command begins; see [Cmd.Resize].
	Rows, Columns uint16
	// Settings are the mounts and names of a command in a directory; not for containers, which have theirs.
	Settings *ContainerOptions

	ctx     context.Context
	start   func(ffi.RunOptions) (*ffi.Process, error)
	process *ffi.Process
	files   []*os.File
	waited  bool
}

// ErrNotStarted is the cause of errors about commands that were not started, or were started before.
var ErrNotStarted = errors.New("the command was not started, or was already")

// ErrDetached is what Wait gives for a container that [Container.Attach] joined in with and that was left: its command goes on.
var ErrDetached = errors.New("detached from the container: its command goes on")

// ExitError is a command that ran and did not succeed. It is ErrCommandFailed as well.
type ExitError struct {
	// Code is the exit code; 128 and the number of the signal for a command that a signal ended.
	Code int
	// Stderr is what it wrote there, where Output was called and Stderr was nil.
	Stderr []byte
}

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// ExitCode is the exit code.
func (e *ExitError) ExitCode() int { return e.Code }

// Is says that it is ErrCommandFailed.
func (e *ExitError) Is(target error) bool { return target == ErrCommandFailed }

func command(ctx context.Context, name string, args []string, start func(ffi.RunOptions) (*ffi.Process, error)) *Cmd {
	c := &Cmd{ctx: ctx, start: start}
	if name != "" {
		c.Args = append([]string{name}, args...)
	}
	return c
}

// Command is a command in a directory that was unpacked, checked out, cloned or committed. An empty name is the image's command. Owners and all
// else that it leaves are kept in the store, whatever the disk takes. The context ends it and all that it started.
func (s *Store) Command(ctx context.Context, dir, name string, args ...string) *Cmd {
	var c *Cmd
	c = command(ctx, name, args, func(o ffi.RunOptions) (*ffi.Process, error) {
		return ffi.RunInTree(s.h(), dir, ffi.ContainerOptions(or(c.Settings)), o)
	})
	return c
}

// Command is the container's command, or with a name another one, supervised by this process: it ends with it. The context ends it and
// all that it started.
func (c *Container) Command(ctx context.Context, name string, args ...string) *Cmd {
	return command(ctx, name, args, func(o ffi.RunOptions) (*ffi.Process, error) { return ffi.RunContainer(c.h(), false, o) })
}

// Exec is one more command beside the one that runs in the container. The context ends it; what it started may stay until the
// container's command ends.
func (c *Container) Exec(ctx context.Context, name string, args ...string) *Cmd {
	return command(ctx, name, args, func(o ffi.RunOptions) (*ffi.Process, error) { return ffi.RunContainer(c.h(), true, o) })
}

// Attach joins in with the container's command, which Start or someone else started to run by itself: Stdout and Stderr get what it
// writes from now on, Stdin is passed on to it, and Rows and Columns count where it has a terminal. Wait gives its end, or [ErrDetached]
// after [Cmd.Detach], and, where it has a terminal, after Ctrl-P Ctrl-Q in Stdin. The context ends this alone: the command goes on.
func (c *Container) Attach(ctx context.Context) *Cmd {
	return command(ctx, "", nil, func(o ffi.RunOptions) (*ffi.Process, error) { return ffi.AttachContainer(c.h(), o) })
}

// Start starts the command; Wait has to be called then.
func (c *Cmd) Start() error {
	if c.start == nil || c.process != nil || c.waited {
		return wrap(ffi.NewError(ffi.InvalidArgument, "start command", ErrNotStarted.Error(), ErrNotStarted))
	}
	if c.ctx.Err() != nil {
		return wrap(ffi.NewError(ffi.Cancelled, "start command", "the context is done", errors.Join(context.Cause(c.ctx), c.ctx.Err())))
	}
	o := ffi.RunOptions{Command: c.Args, Environment: c.Env, User: c.User, Directory: c.Dir, Rung: c.Rung, Helper: c.Helper,
		TTY: c.TTY, Rows: c.Rows, Columns: c.Columns}
	o.Merge = c.Stdout != nil && same(c.Stdout, c.Stderr)
	var read *os.File
	switch stdin := c.Stdin.(type) {
	case nil:
	case *os.File:
		o.Stdin = descriptor(stdin)
	default:
		r, w, err := os.Pipe()
		if err != nil {
			return wrap(ffi.NewError(ffi.InvalidArgument, "start command", err.Error(), err))
		}
		read = r
		o.Stdin = descriptor(r)
		c.files = append(c.files, w)
		defer func() {
			if c.process == nil {
				_ = w.Close()
				return
			}
			go func() {
				// The command may end before it has read everything.
				_, _ = io.Copy(w, stdin)
				_ = w.Close()
			}()
		}()
	}
	writers := map[int]io.Writer{}
	for number, place := range map[int]io.Writer{1: c.Stdout, 2: c.Stderr} {
		if place == nil || (number == 2 && o.Merge) {
			continue
		}
		file, is := place.(*os.File)
		switch {
		case is && number == 1:
			o.Stdout = descriptor(file)
		case is:
			o.Stderr = descriptor(file)
		default:
			writers[number] = place
		}
	}
	if len(writers) > 0 {
		o.Output = func(stream int, data []byte) error {
			if writers[stream] == nil {
				return nil
			}
			n, err := writers[stream].Write(data)
			if err == nil && n != len(data) {
				err = io.ErrShortWrite
			}
			return err
		}
	}
	process, err := c.start(o)
	if read != nil {
		_ = read.Close()
	}
	if err != nil {
		return wrap(err)
	}
	c.process = process
	process.EndWith(c.ctx)
	return nil
}

func descriptor(f *os.File) *int {
	fd := int(f.Fd())
	return &fd
}

// same says whether two writers are one. Not every type can be compared.
func same(a, b io.Writer) bool {
	if a == nil || b == nil || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	return reflect.TypeOf(a).Comparable() && a == b
}

// Wait waits until the command has ended and its output was written. A command that did not succeed is an [*ExitError]; one that the context
// ended is ErrCancelled.
func (c *Cmd) Wait() error {
	if c.process == nil || c.waited {
		return wrap(ffi.NewError(ffi.InvalidArgument, "wait for command", ErrNotStarted.Error(), ErrNotStarted))
	}
	c.waited = true
	code, detached, err := c.process.Wait(c.ctx)
	_ = c.process.Close()
	for _, file := range c.files {
		_ = file.Close()
	}
	if err != nil {
		return wrap(err)
	}
	if detached {
		return ErrDetached
	}
	if code != 0 {
		return &ExitError{Code: code}
	}
	return nil
}

// Run starts the command and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and gives what it wrote to standard output.
func (c *Cmd) Output() ([]byte, error) {
	var stdout, stderr bytes.Buffer
	if c.Stdout != nil {
		return nil, wrap(ffi.NewError(ffi.InvalidArgument, "run command", "Stdout already set", nil))
	}
	c.Stdout = &stdout
	capture := c.Stderr == nil
	if capture {
		c.Stderr = &stderr
	}
	err := c.Run()
	if failed, is := err.(*ExitError); is && capture {
		failed.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the command and gives what it wrote to both outputs, in its order.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, wrap(ffi.NewError(ffi.InvalidArgument, "run command", "Stdout or Stderr already set", nil))
	}
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	err := c.Run()
	return both.Bytes(), err
}

// Signal sends a signal to the command's first process. One that has ended gets none, and that is no error.
func (c *Cmd) Signal(signal syscall.Signal) error {
	if c.process == nil {
		return wrap(ffi.NewError(ffi.InvalidArgument, "send signal", ErrNotStarted.Error(), ErrNotStarted))
	}
	err := c.process.Signal(int(signal))
	if failure, is := err.(*ffi.Error); is && failure.Cause == ffi.ErrClosed {
		return nil
	}
	return wrap(err)
}

// Resize gives the command's terminal another size. One that has ended gets none, and that is no error.
func (c *Cmd) Resize(rows, columns uint16) error {
	if c.process == nil {
		return wrap(ffi.NewError(ffi.InvalidArgument, "resize terminal", ErrNotStarted.Error(), ErrNotStarted))
	}
	err := c.process.Resize(rows, columns)
	if failure, is := err.(*ffi.Error); is && failure.Cause == ffi.ErrClosed {
		return nil
	}
	return wrap(err)
}

// Detach leaves a container that [Container.Attach] joined in with, and does not wait for that: Wait gives [ErrDetached].
func (c *Cmd) Detach() error {
	if c.process == nil {
		return wrap(ffi.NewError(ffi.InvalidArgument, "detach", ErrNotStarted.Error(), ErrNotStarted))
	}
	err := c.process.Detach()
	if failure, is := err.(*ffi.Error); is && failure.Cause == ffi.ErrClosed {
		return nil
	}
	return wrap(err)
}

// ChosenRung is how the command is run, such as notify; empty for one of Exec, and when it has ended.
func (c *Cmd) ChosenRung() string {
	if c.process == nil {
		return ""
	}
	return c.process.Rung()
}
