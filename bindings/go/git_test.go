package treering

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// repository is the address of one with a Dockerfile and a file.
func repository(t *testing.T) string {
	if _, err := exec.LookPath("git"); err != nil && os.Getenv("CI") == "" {
		t.Skip("SKIP-TOOL git: not here")
	}
	work, served := t.TempDir(), t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@host.example", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	git("init")
	write(t, filepath.Join(work, "Dockerfile"), "FROM scratch\nCOPY f /f\n")
	write(t, filepath.Join(work, "f"), "of a repository\n")
	git("add", ".")
	git("commit", "-m", "first")
	git("clone", "--bare", ".", filepath.Join(served, "project.git"))
	git("--git-dir", filepath.Join(served, "project.git"), "update-server-info")
	server := httptest.NewServer(http.FileServer(http.Dir(served)))
	t.Cleanup(server.Close)
	return server.URL + "/project.git"
}

func TestARepositoryIsAContext(t *testing.T) {
	store, address := emptyStore(t), repository(t)
	options := &BuildOptions{ContextAddress: address + "#main", Tags: []string{"app"}, Git: RunGit}
	must[*BuildResult](t)(store.Build(background, options))
	image := must[*Image](t)(store.Image("app"))
	defer image.Close()
	if text := must[[]byte](t)(image.FS().ReadFile("f")); string(text) != "of a repository\n" {
		t.Errorf("%q", text)
	}

	// A function of one's own; the collector runs in the midst of its calls.
	var calls []GitCall
	own := func(ctx context.Context, call *GitCall) (*GitAnswer, error) {
		runtime.GC()
		calls = append(calls, *call)
		return RunGit(ctx, call)
	}
	options = &BuildOptions{DockerfileText: "FROM scratch\nADD " + address + "#main /added\nCOPY --from=named f /copied\n", Tags: []string{"two"},
		BuildContexts: map[string]string{"named": address}, Git: own}
	ctx, cancel := context.WithTimeout(background, time.Minute)
	defer cancel()
	must[*BuildResult](t)(store.Build(ctx, options))
	two := must[*Image](t)(store.Image("two"))
	defer two.Close()
	for _, path := range []string{"added/f", "copied"} {
		if text := must[[]byte](t)(two.FS().ReadFile(path)); string(text) != "of a repository\n" {
			t.Errorf("%s: %q", path, text)
		}
	}
	for _, call := range calls {
		hasPath := slices.ContainsFunc(call.Env, func(one string) bool { return strings.HasPrefix(one, "PATH=") })
		if !slices.Contains(call.Env, "GIT_CONFIG_NOSYSTEM=1") || hasPath || !filepath.IsAbs(call.Dir) || len(call.Args) == 0 {
			t.Errorf("%+v", call)
		}
	}
	if len(calls) == 0 {
		t.Error("the function was not called")
	}
	targets := must[[]BuildTarget](t)(store.BuildTargets(background, &BuildOptions{ContextAddress: address, Git: own}))
	if len(targets) != 1 || targets[0].Base != "scratch" {
		t.Errorf("%+v", targets)
	}
}

func TestGitIsAFunctionOfTheCaller(t *testing.T) {
	store := emptyStore(t)
	build := func(ctx context.Context, git func(context.Context, *GitCall) (*GitAnswer, error)) error {
		_, err := store.Build(ctx, &BuildOptions{ContextAddress: "https://host.example/project.git", Git: git})
		return err
	}
	answers := func(answer *GitAnswer, err error) func(context.Context, *GitCall) (*GitAnswer, error) {
		return func(context.Context, *GitCall) (*GitAnswer, error) { return answer, err }
	}
	if err := build(background, nil); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	err := build(background, answers(&GitAnswer{Errors: []byte("fatal: nobody is there\n")}, nil))
	if !errors.Is(err, ErrNetwork) || !strings.Contains(err.Error(), "nobody is there") {
		t.Error(err)
	}
	own := errors.New("no git today")
	if err := build(background, answers(nil, own)); !errors.Is(err, ErrCallback) || !errors.Is(err, own) {
		t.Error(err)
	}
	if err := build(background, answers(nil, nil)); !errors.Is(err, ErrCallback) || !strings.Contains(err.Error(), "gave no answer") {
		t.Error(err)
	}
	err = build(background, func(context.Context, *GitCall) (*GitAnswer, error) { panic("broken") })
	if panicked := (*PanicError)(nil); !errors.Is(err, ErrCallback) || !errors.As(err, &panicked) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(background)
	err = build(ctx, func(ctx context.Context, _ *GitCall) (*GitAnswer, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	t.Setenv("PATH", "relative")
	if err := build(background, RunGit); !errors.Is(err, ErrCallback) || !strings.Contains(err.Error(), "no git on PATH") {
		t.Error(err)
	}
}

func TestRunGitEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "git"), "#!/bin/sh\n[ \"$1\" = fails ] && { echo said; echo complained >&2; exit 3; }\n/bin/sleep 600 & echo $! >\"$1\"; wait\n")
	if err := os.Chmod(filepath.Join(dir, "git"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "relative:"+dir)
	answer := must[*GitAnswer](t)(RunGit(background, &GitCall{Dir: dir, Args: []string{"fails"}}))
	if answer.Success || string(answer.Output) != "said\n" || string(answer.Errors) != "complained\n" {
		t.Errorf("%+v", answer)
	}
	ctx, cancel := context.WithCancel(background)
	pid := filepath.Join(dir, "pid")
	go func() {
		for {
			if text, _ := os.ReadFile(pid); strings.HasSuffix(string(text), "\n") {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := RunGit(ctx, &GitCall{Dir: dir, Args: []string{pid}}); err == nil {
		t.Error("it was ended")
	}
	text := must[[]byte](t)(os.ReadFile(pid))
	// What it started has ended, too: gone, or a zombie that nothing has waited for.
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("still there: %s", status)
		}
	}
}
