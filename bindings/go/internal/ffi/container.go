//go:build cgo && linux

package ffi

// #include <stdlib.h>
// #include <treering.h>
//
// extern int32_t treeringGoOutput(uintptr_t userdata, int32_t stream, uint8_t *data, size_t n);
//
// static int32_t output_go(void *userdata, int32_t stream, const uint8_t *data, size_t n) {
//   return treeringGoOutput((uintptr_t)userdata, stream, (uint8_t *)data, n);
// }
// static treering_status tree_run(const treering_store *store, const uint8_t *dir, size_t n, const treering_container_options *settings,
//     const treering_run_options *options, uintptr_t go, treering_process **out, treering_error **err) {
//   return treering_tree_run(store, dir, n, settings, sizeof *settings, options, sizeof *options, go ? output_go : NULL, (void *)go, NULL,
//       NULL, out, err);
// }
// static treering_status container_run(const treering_container *container, const treering_run_options *options, uintptr_t go,
//     treering_process **out, treering_error **err) {
//   return treering_container_run(container, options, sizeof *options, go ? output_go : NULL, (void *)go, NULL, NULL, out, err);
// }
// static treering_status container_exec(const treering_container *container, const treering_run_options *options, uintptr_t go,
//     treering_process **out, treering_error **err) {
//   return treering_container_exec(container, options, sizeof *options, go ? output_go : NULL, (void *)go, NULL, NULL, out, err);
// }
// static treering_status container_attach(const treering_container *container, const treering_run_options *options, uintptr_t go,
//     treering_process **out, treering_error **err) {
//   return treering_container_attach(container, options, sizeof *options, go ? output_go : NULL, (void *)go, NULL, NULL, out, err);
// }
// static treering_status container_logs(const treering_container *container, bool follow, const size_t *tail, uintptr_t go,
//     const treering_control *control, treering_error **err) {
//   return treering_container_logs(container, follow, tail, output_go, (void *)go, NULL, control, err);
// }
import "C"

import (
	"context"
	"runtime/cgo"
	"sync"
	"time"
	"unsafe"
	"weak"
)

// ContainerOptions as the public package has them.
type ContainerOptions struct {
	Name             string
	Command          []string
	Entrypoint       *string
	Environment      []string
	User, Directory  string
	Hostname         string
	Volumes, Tmpfs   []string
	Network          string
	Links            []string
	Labels           map[string]string
	ReadOnly, Remove bool
	StopSignal       string
	Rung, Platform   string
	Threads          int
	TTY, Interactive bool
}

func (a *arguments) container(o ContainerOptions) (p C.treering_container_options) {
	p.name, p.user, p.directory, p.hostname = a.text(o.Name), a.text(o.User), a.text(o.Directory), a.text(o.Hostname)
	p.command, p.command_len = a.texts(o.Command)
	if o.Entrypoint != nil {
		p.entrypoint = a.always(*o.Entrypoint)
	}
	p.environment, p.environment_len = a.texts(o.Environment)
	p.volumes, p.volumes_len = a.texts(o.Volumes)
	p.tmpfs, p.tmpfs_len = a.texts(o.Tmpfs)
	p.links, p.links_len = a.texts(o.Links)
	p.labels, p.labels_len = a.pairs(o.Labels)
	p.network, p.stop_signal, p.rung, p.platform = a.text(o.Network), a.text(o.StopSignal), a.text(o.Rung), a.text(o.Platform)
	p.read_only, p.remove, p.threads = C.bool(o.ReadOnly), C.bool(o.Remove), a.threads(o.Threads)
	p.tty, p.interactive = C.bool(o.TTY), C.bool(o.Interactive)
	return p
}

// RunOptions are a command, and where its streams go.
type RunOptions struct {
	Command, Environment  []string
	User, Directory       string
	Stdin, Stdout, Stderr *int
	Merge                 bool
	Rung, Helper          string
	TTY, Interactive      bool
	Rows, Columns         uint16
	// Output gets the streams without a descriptor: 1 for standard output, 2 for standard error.
	Output func(stream int, data []byte) error
}

func (a *arguments) descriptor(fd *int) *C.int32_t {
	if fd == nil {
		return nil
	}
	p := (*C.int32_t)(C.malloc(C.size_t(unsafe.Sizeof(C.int32_t(0)))))
	a.memory = append(a.memory, unsafe.Pointer(p))
	*p = C.int32_t(*fd)
	return p
}

func (a *arguments) run(o RunOptions) (p C.treering_run_options) {
	p.command, p.command_len = a.texts(o.Command)
	p.environment, p.environment_len = a.texts(o.Environment)
	p.user, p.directory, p.rung, p.helper = a.text(o.User), a.text(o.Directory), a.text(o.Rung), a.slice(o.Helper)
	p.stdin_fd = a.descriptor(o.Stdin)
	p.stdout_fd = a.descriptor(o.Stdout)
	p.stderr_fd = a.descriptor(o.Stderr)
	p.merge, p.tty, p.interactive = C.bool(o.Merge), C.bool(o.TTY), C.bool(o.Interactive)
	p.rows, p.columns = C.uint16_t(o.Rows), C.uint16_t(o.Columns)
	return p
}

// output is a function that the library gives output to, from its own threads, one call at a time.
type output struct {
	mu   sync.Mutex
	call func(stream int, data []byte) error
	err  error
}

//export treeringGoOutput
func treeringGoOutput(userdata C.uintptr_t, stream C.int32_t, data *C.uint8_t, n C.size_t) C.int32_t {
	o := cgo.Handle(userdata).Value().(*output)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = guard(func() error { return o.call(int(stream), unsafe.Slice((*byte)(unsafe.Pointer(data)), n)) })
	return code(o.err)
}

func (o *output) explain(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if failure, is := err.(*Error); is && o.err != nil && failure.Status == Callback && failure.Cause == nil {
		failure.Cause, failure.Message = o.err, o.err.Error()
		failure.Text = failure.Operation + ": " + failure.Message
	}
	return err
}

// Process is a command that was started.
type Process struct {
	handle *Handle
	output *output
	// unwatch waits until the context does nothing to the command any more.
	unwatch func()
}

func start(o RunOptions, f func(options *C.treering_run_options, go_ C.uintptr_t, out **C.treering_process, e **C.treering_error) C.treering_status,
	a *arguments) (*Process, error) {
	options := a.run(o)
	process := &Process{}
	var number cgo.Handle
	if o.Output != nil {
		process.output = &output{call: o.Output}
		number = cgo.NewHandle(process.output)
	}
	var out *C.treering_process
	a.do(func(e **C.treering_error) C.treering_status { return f(&options, C.uintptr_t(number), &out, e) })
	if a.err != nil {
		if number != 0 {
			number.Delete()
		}
		return nil, a.err
	}
	process.handle = newHandle("process", unsafe.Pointer(out), func(p unsafe.Pointer) {
		// Nothing of the command is left when it returns, and the function is not called any more.
		C.treering_process_free((*C.treering_process)(p))
		if number != 0 {
			number.Delete()
		}
	})
	return process, nil
}

// RunInTree starts a command in a directory with a record in the store.
func RunInTree(store *Handle, dir string, settings ContainerOptions, o RunOptions) (*Process, error) {
	var a arguments
	defer a.free()
	s, said := (*C.treering_store)(a.use(store)), a.container(settings)
	path, n := a.bytes(dir)
	return start(o, func(options *C.treering_run_options, go_ C.uintptr_t, out **C.treering_process, e **C.treering_error) C.treering_status {
		return C.tree_run(s, path, n, &said, options, go_, out, e)
	}, &a)
}

// RunContainer starts a container's command, or with beside one more.
func RunContainer(container *Handle, beside bool, o RunOptions) (*Process, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	return start(o, func(options *C.treering_run_options, go_ C.uintptr_t, out **C.treering_process, e **C.treering_error) C.treering_status {
		if beside {
			return C.container_exec(c, options, go_, out, e)
		}
		return C.container_run(c, options, go_, out, e)
	}, &a)
}

// AttachContainer joins in with the command of a container that runs by itself.
func AttachContainer(container *Handle, o RunOptions) (*Process, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	return start(o, func(options *C.treering_run_options, go_ C.uintptr_t, out **C.treering_process, e **C.treering_error) C.treering_status {
		return C.container_attach(c, options, go_, out, e)
	}, &a)
}

// Resize gives the terminal of a command another size.
func (p *Process) Resize(rows, columns uint16) error {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_process_resize(process, C.uint16_t(rows), C.uint16_t(columns), e)
	})
	return a.err
}

// Detach leaves a container.
func (p *Process) Detach() error {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_process_detach(process, e) })
	return a.err
}

// EndWith has a context end the command, from now until Wait returns. A command that is forgotten is not kept by that.
func (p *Process) EndWith(ctx context.Context) {
	command, killed := weak.Make(p), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		if p := command.Value(); p != nil {
			_ = p.Kill()
		}
	})
	p.unwatch = func() {
		if !stop() {
			<-killed
		}
	}
}

// Wait waits for the end of a command that the context of EndWith ends, and gives its exit code, and whether it was left and goes on.
func (p *Process) Wait(ctx context.Context) (code int, detached bool, err error) {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	var out C.treering_process_result
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_process_wait(process, -1, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	p.unwatch()
	err = a.err
	if p.output != nil {
		err = p.output.explain(err)
	}
	if failure, is := err.(*Error); is && failure.Status == Cancelled && ctx.Err() != nil {
		failure.Cause = why(ctx)
	}
	return int(out.exit_code), bool(out.detached), err
}

// Kill ends a command and all that it started, without waiting for that.
func (p *Process) Kill() error {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_process_kill(process, e) })
	return a.err
}

// Signal sends a signal to the first process of a command.
func (p *Process) Signal(signal int) error {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_process_signal(process, C.int32_t(signal), e)
	})
	return a.err
}

// Rung is how the command is run.
func (p *Process) Rung() string {
	var a arguments
	defer a.free()
	process := (*C.treering_process)(a.use(p.handle))
	if process == nil {
		return ""
	}
	return C.GoString(C.treering_process_rung(process))
}

// Close ends the command and frees what stands for it.
func (p *Process) Close() error { return p.handle.Close() }

func known(a *arguments, out *C.treering_container) (*Handle, error) {
	if a.err != nil {
		return nil, a.err
	}
	return newHandle("container", unsafe.Pointer(out), func(p unsafe.Pointer) { C.treering_container_free((*C.treering_container)(p)) }), nil
}

// CreateContainer makes a container.
func CreateContainer(ctx context.Context, store *Handle, reference string, o ContainerOptions) (*Handle, error) {
	var a arguments
	defer a.free()
	s, r, options := (*C.treering_store)(a.use(store)), a.always(reference), a.container(o)
	var out *C.treering_container
	if a.err == nil {
		a.err = operate(ctx, func(c *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_create(s, r, &options, C.size_t(unsafe.Sizeof(options)), c, &out, e)
		})
	}
	return known(&a, out)
}

// OpenContainer finds a container.
func OpenContainer(store *Handle, name string) (*Handle, error) {
	var a arguments
	defer a.free()
	s, n := (*C.treering_store)(a.use(store)), a.always(name)
	var out *C.treering_container
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_container_open(s, n, &out, e) })
	return known(&a, out)
}

// ListContainers gives a JSON list.
func ListContainers(store *Handle) ([]byte, error) {
	var a arguments
	defer a.free()
	s := (*C.treering_store)(a.use(store))
	var out *C.treering_bytes
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_container_list(s, &out, e) })
	return takeBytes(out), a.err
}

// InspectContainer gives what docker inspect prints.
func InspectContainer(container *Handle) ([]byte, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	var out *C.treering_bytes
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_container_inspect(c, &out, e) })
	return takeBytes(out), a.err
}

// ContainerPlace is the id of a container and where its tree is.
func ContainerPlace(container *Handle) (id, tree string) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	if c == nil {
		return "", ""
	}
	var n C.size_t
	path := C.treering_container_tree(c, &n)
	return C.GoString(C.treering_container_id(c)), goString(path, n)
}

// ContainerState is the number of a status, and an exit code.
func ContainerState(container *Handle) (status, exitCode int, err error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	var out C.treering_container_state
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_container_get_state(c, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return int(out.status), int(out.exit_code), a.err
}

// StartContainer starts a container by itself.
func StartContainer(container *Handle, o RunOptions) error {
	var a arguments
	defer a.free()
	c, options := (*C.treering_container)(a.use(container)), a.run(o)
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_container_start(c, &options, C.size_t(unsafe.Sizeof(options)), e)
	})
	return a.err
}

// StopContainer asks a container's command to stop.
func StopContainer(ctx context.Context, container *Handle, patience time.Duration) error {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_stop(c, C.uint64_t(max(patience, 0).Milliseconds()), control, e)
		})
	}
	return a.err
}

// KillContainer sends a container's command a signal.
func KillContainer(container *Handle, signal int) error {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	a.do(func(e **C.treering_error) C.treering_status {
		return C.treering_container_kill(c, C.int32_t(signal), e)
	})
	return a.err
}

// WaitContainer waits for the end of a container's command.
func WaitContainer(ctx context.Context, container *Handle) (int, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	var out C.treering_process_result
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_wait(c, -1, control, &out, C.size_t(unsafe.Sizeof(out)), e)
		})
	}
	return int(out.exit_code), a.err
}

// ReadLog gives what a container's command wrote; tail is negative for all.
func ReadLog(ctx context.Context, container *Handle, follow bool, tail int, call func(stream int, data []byte) error) error {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	var last *C.size_t
	if tail >= 0 {
		last = (*C.size_t)(C.malloc(C.size_t(unsafe.Sizeof(C.size_t(0)))))
		a.memory = append(a.memory, unsafe.Pointer(last))
		*last = C.size_t(tail)
	}
	o := &output{call: call}
	number := cgo.NewHandle(o)
	defer number.Delete()
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.container_logs(c, C.bool(follow), last, C.uintptr_t(number), control, e)
		})
	}
	return o.explain(a.err)
}

// RenameContainer gives a container another name.
func RenameContainer(container *Handle, name string) error {
	var a arguments
	defer a.free()
	c, n := (*C.treering_container)(a.use(container)), a.always(name)
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_container_rename(c, n, e) })
	return a.err
}

// RemoveContainer removes a container.
func RemoveContainer(ctx context.Context, container *Handle, force bool) error {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_remove(c, C.bool(force), control, e)
		})
	}
	return a.err
}

// Copied is what a copy lost.
type Copied struct {
	Unkept uint64
	Notes  []Note
}

// CopyIntoContainer copies a file or directory of the host into a container.
func CopyIntoContainer(ctx context.Context, container *Handle, source, path string, keepOwners bool) (Copied, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	s, sn := a.bytes(source)
	p, pathLen := a.bytes(path)
	var unkept C.uint64_t
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_copy_in(c, s, sn, p, pathLen, C.bool(keepOwners), control, &unkept, &report, e)
		})
	}
	return Copied{uint64(unkept), takeReport(report)}, a.err
}

// CopyOutOfContainer copies a file or directory of a container to the host.
func CopyOutOfContainer(ctx context.Context, container *Handle, path, target string) (Copied, error) {
	var a arguments
	defer a.free()
	c := (*C.treering_container)(a.use(container))
	p, pathLen := a.bytes(path)
	t, tn := a.bytes(target)
	var unkept C.uint64_t
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_copy_out(c, p, pathLen, t, tn, control, &unkept, &report, e)
		})
	}
	return Copied{uint64(unkept), takeReport(report)}, a.err
}

// CommitContainer commits a container's tree.
func CommitContainer(ctx context.Context, container *Handle, reference string, o CommitOptions) (CommitResult, error) {
	var a arguments
	defer a.free()
	c, name, options := (*C.treering_container)(a.use(container)), a.text(reference), a.commit(o)
	var out C.treering_commit_result
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_commit(c, name, &options, C.size_t(unsafe.Sizeof(options)), control, &out,
				C.size_t(unsafe.Sizeof(out)), &report, e)
		})
	}
	result := commitResult(&out)
	result.Notes = takeReport(report)
	return result, a.err
}

// CheckoutContainer makes a container's tree what an image says.
func CheckoutContainer(ctx context.Context, container *Handle, reference string, o CheckoutOptions) (CheckoutResult, error) {
	var a arguments
	defer a.free()
	c, r, options := (*C.treering_container)(a.use(container)), a.always(reference), a.checkout(o)
	var out C.treering_checkout_result
	var changes *C.treering_changes
	var report *C.treering_report
	if a.err == nil {
		a.err = operate(ctx, func(control *C.treering_control, e **C.treering_error) C.treering_status {
			return C.treering_container_checkout(c, r, &options, C.size_t(unsafe.Sizeof(options)), control, &out,
				C.size_t(unsafe.Sizeof(out)), &changes, &report, e)
		})
	}
	return checkoutResult(&out, changes, report), a.err
}
