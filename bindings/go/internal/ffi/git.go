package ffi

// #include <stdlib.h>
// #include <treering.h>
//
// extern int32_t treeringGoGit(uintptr_t userdata, treering_git_call *call, treering_git_answer *answer);
// static int32_t git_go(void *userdata, const treering_git_call *call, size_t size, treering_git_answer *answer) {
//   (void)size;
//   return treeringGoGit(*(const uintptr_t *)userdata, (treering_git_call *)call, answer);
// }
// static treering_git git_of(void *userdata) {
//   treering_git git = {git_go, userdata};
//   return git;
// }
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"unsafe"
)

// GitCall as the public package has it.
type GitCall struct {
	Dir       string
	Args, Env []string
}

// GitAnswer as the public package has it.
type GitAnswer struct {
	Success        bool
	Output, Errors []byte
}

// GitFunc runs git.
type GitFunc func(ctx context.Context, call GitCall) (*GitAnswer, error)

// gitter is the function of an operation. The stream has its context, and its first error.
type gitter struct {
	stream
	run GitFunc
}

// git is the function of an operation, until the arguments are freed.
func (a *arguments) git(ctx context.Context, run GitFunc) (none C.treering_git) {
	if run == nil {
		return none
	}
	g := &gitter{stream: stream{ctx: ctx}, run: run}
	handle := cgo.NewHandle(g)
	a.undo = append(a.undo, handle.Delete)
	a.explain = g.explain
	// A small number is no pointer that Go's memory may hold: it stands in C's.
	number := (*C.uintptr_t)(C.malloc(C.size_t(unsafe.Sizeof(C.uintptr_t(0)))))
	*number = C.uintptr_t(handle)
	a.memory = append(a.memory, unsafe.Pointer(number))
	return C.git_of(unsafe.Pointer(number))
}

//export treeringGoGit
func treeringGoGit(userdata C.uintptr_t, call *C.treering_git_call, answer *C.treering_git_answer) C.int32_t {
	g := cgo.Handle(userdata).Value().(*gitter)
	g.mu.Lock()
	defer g.mu.Unlock()
	err := guard(func() error {
		if g.ctx.Err() != nil {
			return g.ctx.Err()
		}
		asked := GitCall{Dir: goString(call.directory.data, call.directory.len)}
		for _, text := range unsafe.Slice(call.arguments, call.arguments_len) {
			asked.Args = append(asked.Args, C.GoString(text))
		}
		for _, pair := range unsafe.Slice(call.environment, call.environment_len) {
			asked.Env = append(asked.Env, C.GoString(pair.key)+"="+C.GoString(pair.value))
		}
		found, err := g.run(g.ctx, asked)
		if err != nil {
			return err
		}
		if found == nil {
			return errors.New("the function that runs git gave no answer")
		}
		var a arguments
		defer a.free()
		output, outputLen := a.bytes(string(found.Output))
		failures, failuresLen := a.bytes(string(found.Errors))
		a.do(func(e **C.treering_error) C.treering_status {
			return C.treering_git_answer_set(answer, C.bool(found.Success), output, outputLen, failures, failuresLen, e)
		})
		return a.err
	})
	if g.err == nil {
		g.err = err
	}
	return code(err)
}
