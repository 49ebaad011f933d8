package treering

import (
	"bytes"
	"context"
	"encoding/json"
	"syscall"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// ContainerOptions are what is said of a container, in place of its image or besides it.
type ContainerOptions struct {
	// Name of the container; made up when empty.
	Name string
	// Command in place of the image's: arguments of the entry point, where there is one.
	Command []string
	// Entrypoint in place of the image's; an empty one is none.
	Entrypoint *string
	// Environment has variables, NAME=VALUE; a name alone takes the variable away.
	Environment []string
	// User that it runs as, USER[:GROUP], and Directory where it starts; the image's by default.
	User, Directory string
	// Hostname of the container; the first digits of its id by default.
	Hostname string
	// Volumes are files and directories of the host in its tree, HOST:PATH[:ro]; a path alone is a directory of the container's own
	// that no commit takes. Tmpfs are filesystems in memory, PATH[:OPTION,...].
	Volumes, Tmpfs []string
	// Network is host, the default, or none.
	Network string
	// Links are other containers that it finds by name, and that it shares the network with, NAME[:ALIAS].
	Links []string
	// Labels of the container.
	Labels map[string]string
	// ReadOnly keeps the command from writing to the tree.
	ReadOnly bool
	// Remove takes the container away when its command ends.
	Remove bool
	// StopSignal asks the command to stop, a name or a number; the image's by default, or TERM.
	StopSignal string
	// Rung is the only way to run it: root, chroot, notify, ptrace, ids, paths or ptrace-paths; the best that works by default.
	Rung string
	// Platform of a multi-platform image; this machine's by default.
	Platform string
	// Threads for unpacking; 0 for one per processor.
	Threads int
	// TTY gives the command a terminal, and Interactive keeps its standard input open for [Container.Attach].
	TTY, Interactive bool
}

// Container is a tree of a store with a name, settings and a state. No daemon keeps it.
type Container struct {
	handle   *ffi.Handle
	id, tree string
}

func container(handle *ffi.Handle, err error) (*Container, error) {
	if err != nil {
		return nil, wrap(err)
	}
	id, tree := ffi.ContainerPlace(handle)
	return &Container{handle, id, tree}, nil
}

func (c *Container) h() *ffi.Handle {
	if c == nil {
		return nil
	}
	return c.handle
}

// CreateContainer makes a container of an image of the store. Options may be nil.
func (s *Store) CreateContainer(ctx context.Context, reference string, options *ContainerOptions) (*Container, error) {
	return container(ffi.CreateContainer(ctx, s.h(), reference, ffi.ContainerOptions(or(options))))
}

// Container finds a container by its name, its id or the beginning of that.
func (s *Store) Container(name string) (*Container, error) {
	return container(ffi.OpenContainer(s.h(), name))
}

// ContainerInfo is what a list says of a container.
type ContainerInfo struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Image    string            `json:"image"`
	ImageID  string            `json:"image_id"`
	Created  string            `json:"created"`
	Status   string            `json:"status"`
	ExitCode int               `json:"exit_code"`
	Labels   map[string]string `json:"labels"`
	Tree     string            `json:"tree"`
}

// Containers lists the containers of the store, the newest first.
func (s *Store) Containers() ([]ContainerInfo, error) {
	list, err := decode[[]ContainerInfo](ffi.ListContainers(s.h()))
	if err != nil {
		return nil, err
	}
	return *list, nil
}

// Close frees the handle; the container stays.
func (c *Container) Close() error { return wrap(c.h().Close()) }

// ID of the container, 64 hexadecimal digits.
func (c *Container) ID() string { return c.id }

// Tree is where its tree is: what [Store.DiffTree] and all else take that take a tree.
func (c *Container) Tree() string { return c.tree }

// ContainerStatus is what a container does.
type ContainerStatus int

// The statuses of a container.
const (
	// Created: no command was run in it.
	Created ContainerStatus = 1
	// Running: a command runs in it.
	Running ContainerStatus = 2
	// Exited: the command ended.
	Exited ContainerStatus = 3
)

// String is its name, as Docker has it.
func (s ContainerStatus) String() string {
	switch s {
	case Created:
		return "created"
	case Running:
		return "running"
	case Exited:
		return "exited"
	}
	return "unknown"
}

// State is what it does, and how its command ended: the exit code, or 128 and the number of a signal.
func (c *Container) State() (status ContainerStatus, exitCode int, err error) {
	number, exitCode, err := ffi.ContainerState(c.h())
	return ContainerStatus(number), exitCode, wrap(err)
}

// Inspect is the object that docker inspect prints of a container.
func (c *Container) Inspect() (json.RawMessage, error) {
	data, err := ffi.InspectContainer(c.h())
	return data, wrap(err)
}

// Start starts its command with a supervisor of its own: it goes on when this process ends. With words it runs these instead.
func (c *Container) Start(words ...string) error {
	return wrap(ffi.StartContainer(c.h(), ffi.RunOptions{Command: words}))
}

// Stop asks its command to stop, and kills it when it has not ended after a while. One that does not run is stopped.
func (c *Container) Stop(ctx context.Context, patience time.Duration) error {
	return wrap(ffi.StopContainer(ctx, c.h(), patience))
}

// Kill sends its command a signal.
func (c *Container) Kill(signal syscall.Signal) error {
	return wrap(ffi.KillContainer(c.h(), int(signal)))
}

// Wait waits until its command has ended, whichever process supervises it, and gives the exit code; the last one's where none runs.
// The context ends the waiting, not the command.
func (c *Container) Wait(ctx context.Context) (int, error) {
	code, err := ffi.WaitContainer(ctx, c.h())
	return code, wrap(err)
}

// LogOptions say how a log is read.
type LogOptions struct {
	// Follow goes on until the command ends.
	Follow bool
	// Tail is how many of the last lines; 0 for all.
	Tail int
}

// Logs gives what its command wrote to a function, line by line, oldest first. The lines are the function's to keep. Options may be nil.
func (c *Container) Logs(ctx context.Context, options *LogOptions, line func(stderr bool, line []byte) error) error {
	o := or(options)
	tail := -1
	if o.Tail > 0 {
		tail = o.Tail
	}
	return wrap(ffi.ReadLog(ctx, c.h(), o.Follow, tail, func(stream int, data []byte) error {
		// The library takes its memory back.
		return line(stream == 2, bytes.Clone(data))
	}))
}

// Rename gives it another name. It may run.
func (c *Container) Rename(name string) error { return wrap(ffi.RenameContainer(c.h(), name)) }

// Remove removes it with its tree. One that runs is ErrBusy, unless force has its command killed first.
func (c *Container) Remove(ctx context.Context, force bool) error {
	return wrap(ffi.RemoveContainer(ctx, c.h(), force))
}

// CopyOptions say how files of the host are copied into a container.
type CopyOptions struct {
	// KeepOwners keeps the owners that files have on the host; otherwise they become root's.
	KeepOwners bool
}

// CopyResult is what a copy lost.
type CopyResult struct {
	// Unkept is for how many entries owners or attributes are lost.
	Unkept uint64
	// Notes about what was lost.
	Notes []Note
}

func copied(r ffi.Copied, err error) (*CopyResult, error) {
	if err != nil {
		return nil, wrap(err)
	}
	return &CopyResult{Unkept: r.Unkept, Notes: notes(r.Notes)}, nil
}

// CopyIn copies a file or directory of the host into it, as docker cp does: a directory that is there at path gets it under its own name,
// and a source that ends in /. is copied without its name. Its command may run. Options may be nil.
func (c *Container) CopyIn(ctx context.Context, source, path string, options *CopyOptions) (*CopyResult, error) {
	return copied(ffi.CopyIntoContainer(ctx, c.h(), source, path, or(options).KeepOwners))
}

// CopyOut copies a file or directory of it to the host, as docker cp does. Its command may run.
func (c *Container) CopyOut(ctx context.Context, path, target string) (*CopyResult, error) {
	return copied(ffi.CopyOutOfContainer(ctx, c.h(), path, target))
}

// Commit commits its tree as [Store.Commit] does, with what was said of the container in the configuration. Options may be nil.
func (c *Container) Commit(ctx context.Context, reference string, options *CommitOptions) (*CommitResult, error) {
	return committed(ffi.CommitContainer(ctx, c.h(), reference, ffi.CommitOptions(or(options))))
}

// Checkout makes its tree what an image says, as [Store.Checkout] does. Options may be nil.
func (c *Container) Checkout(ctx context.Context, reference string, options *CheckoutOptions) (*CheckoutResult, error) {
	return checkedOut(ffi.CheckoutContainer(ctx, c.h(), reference, ffi.CheckoutOptions(or(options))))
}
