package treering

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// GitCall is a call of git that a build asks for.
type GitCall struct {
	// Dir is the working directory.
	Dir string
	// Args are the arguments, without the name of the program.
	Args []string
	// Env is the environment, NAME=VALUE. PATH and what says how servers are reached are to be added, and nothing else. May hold a secret.
	Env []string
}

// GitAnswer is what git said.
type GitAnswer struct {
	// Success is whether it exited with 0.
	Success bool
	// Output and Errors are what it wrote to standard output and standard error.
	Output, Errors []byte
}

// gitVariables of this process's environment are those that git needs to reach servers.
var gitVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"}

// maxGitOutput is the most that is kept of either stream, in bytes.
const maxGitOutput = 4 << 20

// RunGit runs the git of PATH for a build: it is a value for the field Git of [BuildOptions]. git has the environment of the call (no
// configuration of the user or the machine, no questions), PATH, and what says how servers are reached. When the context is done, git and
// what it started are ended.
func RunGit(ctx context.Context, call *GitCall) (*GitAnswer, error) {
	// A relative directory of PATH would be one of the repository.
	var places []string
	for _, place := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(place) {
			places = append(places, place)
		}
	}
	program := ""
	for _, place := range places {
		if found, err := exec.LookPath(filepath.Join(place, "git")); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		return nil, errors.New("there is no git on PATH")
	}
	var output, failures kept
	cmd := exec.CommandContext(ctx, program, call.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = call.Dir, &output, &failures
	cmd.Env = []string{"PATH=" + strings.Join(places, string(filepath.ListSeparator))}
	for _, name := range gitVariables {
		if value, is := os.LookupEnv(name); is {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Env = append(cmd.Env, call.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		return nil, err
	}
	return &GitAnswer{Success: err == nil, Output: output.data, Errors: failures.data}, nil
}

// kept is the beginning of a stream.
type kept struct{ data []byte }

func (k *kept) Write(data []byte) (int, error) {
	k.data = append(k.data, data[:min(maxGitOutput-len(k.data), len(data))]...)
	return len(data), nil
}

// git is the function for the library.
func (o BuildOptions) git() ffi.GitFunc {
	if o.Git == nil {
		return nil
	}
	return func(ctx context.Context, call ffi.GitCall) (*ffi.GitAnswer, error) {
		answer, err := o.Git(ctx, &GitCall{Dir: call.Dir, Args: call.Args, Env: call.Env})
		return (*ffi.GitAnswer)(answer), err
	}
}
