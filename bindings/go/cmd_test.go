package treering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// busybox is a store with an image of a static busybox, and a tree of it.
func busybox(t *testing.T) (*Store, string) {
	t.Helper()
	const program = "/usr/bin/busybox"
	elf, err := os.ReadFile(program)
	if err != nil || bytes.Contains(elf, []byte("/ld-linux-")) {
		if os.Getenv("CI") != "" {
			t.Fatal("busybox is needed in CI")
		}
		t.Skip("SKIP-TOOL busybox: no static one here")
	}
	store, root := emptyStore(t), t.TempDir()
	bin := filepath.Join(root, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), elf, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(must[[]byte](t)(exec.Command(program, "--list").Output()))) {
		if name != "busybox" {
			if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	must[*CommitResult](t)(store.Commit(background, root, "bb:1", &CommitOptions{Changes: []string{`CMD ["echo", "hello"]`}}))
	tree := filepath.Join(t.TempDir(), "tree")
	must[*UnpackResult](t)(store.Unpack(background, "bb:1", tree, nil))
	return store, tree
}

func TestCommands(t *testing.T) {
	store, tree := busybox(t)
	box := must[*Container](t)(store.CreateContainer(background, "bb:1", &ContainerOptions{Command: []string{"sleep", "1000"}}))
	defer box.Close()
	other := must[*Container](t)(store.CreateContainer(background, "bb:1", nil))
	defer other.Close()
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	defer box.Remove(background, true)
	ways := map[string]func(ctx context.Context, name string, args ...string) *Cmd{
		"tree": func(ctx context.Context, name string, args ...string) *Cmd {
			return store.Command(ctx, tree, name, args...)
		},
		"container": other.Command,
		"exec":      box.Exec,
	}
	for way, command := range ways {
		t.Run(way, func(t *testing.T) {
			sh := func(script string) *Cmd { return command(background, "sh", "-c", script) }
			out, err := sh("echo out; echo err >&2; exit 3").Output()
			var failed *ExitError
			if !errors.As(err, &failed) || failed.ExitCode() != 3 || string(failed.Stderr) != "err\n" || string(out) != "out\n" ||
				!errors.Is(err, ErrCommandFailed) {
				t.Errorf("%q %v", out, err)
			}
			if both, err := sh("echo 1; echo 2 >&2; echo 3").CombinedOutput(); string(both) != "1\n2\n3\n" || err != nil {
				t.Errorf("%q %v", both, err)
			}
			cat := sh("cat; echo $A; pwd; id -u")
			cat.Stdin, cat.Env, cat.Dir, cat.User = strings.NewReader("in\n"), []string{"A=1"}, "/bin", "7"
			if text, err := cat.Output(); string(text) != "in\n1\n/bin\n7\n" || err != nil {
				t.Errorf("%q %v", text, err)
			}
			file := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "out")))
			defer file.Close()
			toFile := sh("echo file")
			toFile.Stdout = file
			if err := toFile.Run(); err != nil {
				t.Error(err)
			}
			if text := must[[]byte](t)(os.ReadFile(file.Name())); string(text) != "file\n" {
				t.Errorf("%q", text)
			}
			broken := sh("echo x; sleep 1000")
			broken.Stdout = &failing{}
			if err := broken.Run(); !errors.Is(err, ErrCallback) || !errors.Is(err, errFailing) {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
			defer cancel()
			if err := command(ctx, "sleep", "1000").Run(); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if err := command(ctx, "true").Run(); !errors.Is(err, ErrCancelled) {
				t.Error(err)
			}
			// The context ends it before Wait is called.
			ctx, cancel = context.WithCancel(background)
			defer cancel()
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			waits := command(ctx, "sleep", "1000")
			waits.Stdout = write
			if err := errors.Join(waits.Start(), write.Close(), read.SetReadDeadline(time.Now().Add(30*time.Second))); err != nil {
				t.Fatal(err)
			}
			cancel()
			if n, err := read.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Error(n, err)
			}
			if err := waits.Wait(); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			long := sh("sleep 1000")
			if err := long.Start(); err != nil {
				t.Fatal(err)
			}
			if err := long.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			if err := long.Wait(); !errors.As(err, &failed) || failed.Code != 137 {
				t.Error(err)
			}
			if err := long.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			if err := long.Wait(); !errors.Is(err, ErrInvalidArgument) || !errors.Is(err, ErrNotStarted) {
				t.Error(err)
			}
			var failure *Error
			if err := command(background, "/no/such").Run(); !errors.As(err, &failure) || failure.ExitCode != 127 {
				t.Error(err)
			}
		})
	}
	chown := store.Command(background, tree, "chown", "5:6", "/bin")
	chown.Settings = &ContainerOptions{Hostname: "oak", Network: "host"}
	if err := chown.Run(); err != nil {
		t.Error(err)
	}
	if text, err := store.Command(background, tree, "").Output(); string(text) != "hello\n" || err != nil {
		t.Errorf("%q %v", text, err)
	}
	diff := must[*Diff](t)(store.DiffTree(background, tree, "", nil))
	defer diff.Close()
	now := must[*Snapshot](t)(diff.New())
	defer now.Close()
	if entry, err := now.Lookup("bin"); err != nil || entry.UID != 5 || entry.GID != 6 {
		t.Errorf("%+v %v", entry, err)
	}
	if err := store.Command(background, t.TempDir(), "true").Run(); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

var errFailing = errors.New("mine")

type failing struct{}

func (*failing) Write([]byte) (int, error) { return 0, errFailing }

func TestContainers(t *testing.T) {
	store, _ := busybox(t)
	box := must[*Container](t)(store.CreateContainer(background, "bb:1", &ContainerOptions{Name: "box", Labels: map[string]string{"tier": "web"},
		Command: []string{"sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"}}))
	defer box.Close()
	if status, _, err := box.State(); status != Created || err != nil || status.String() != "created" {
		t.Error(status, err)
	}
	again := must[*Container](t)(store.Container("box"))
	if again.ID() != box.ID() || again.Tree() != box.Tree() {
		t.Error(again)
	}
	_ = again.Close()
	if err := box.Command(background, "sh", "-c", "echo line; touch /made").Run(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	line := func(stderr bool, line []byte) error { log.Write(line); return nil }
	if err := box.Logs(background, &LogOptions{Tail: 5}, line); err != nil || log.String() != "line\n" {
		t.Error(log.String(), err)
	}
	if err := box.Command(background, "seq", "100").Run(); err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	if err := box.Logs(background, &LogOptions{Tail: 100}, func(_ bool, line []byte) error { kept = append(kept, line); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, line := range kept {
		if string(line) != fmt.Sprintln(i+1) || len(kept) != 100 {
			t.Fatalf("%d: %q", i, line)
		}
	}
	if made := must[*CommitResult](t)(box.Commit(background, "made:1", nil)); made.Added != 1 {
		t.Errorf("%+v", made)
	}
	if checked := must[*CheckoutResult](t)(box.Checkout(background, "bb:1", nil)); checked.Removed != 1 {
		t.Errorf("%+v", checked)
	}
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	if err := box.Start(); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if err := box.Remove(background, false); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	soon, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	if _, err := box.Wait(soon); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	for log.Reset(); !strings.Contains(log.String(), "up\n"); log.Reset() {
		if err := box.Logs(background, nil, line); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "up\n") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := box.Stop(background, 20*time.Second); err != nil {
		t.Error(err)
	}
	if code, err := box.Wait(background); code != 5 || err != nil {
		t.Error(code, err)
	}
	if err := errors.Join(box.Start("sleep", "1000"), box.Kill(syscall.SIGKILL)); err != nil {
		t.Error(err)
	}
	if code, err := box.Wait(background); code != 137 || err != nil {
		t.Error(code, err)
	}
	if err := box.Rename("other"); err != nil {
		t.Error(err)
	}
	list := must[[]ContainerInfo](t)(store.Containers())
	if len(list) != 1 || list[0].Name != "other" || list[0].Status != "exited" || list[0].Labels["tier"] != "web" || list[0].Tree != box.Tree() {
		t.Errorf("%+v", list)
	}
	if inspected, err := box.Inspect(); err != nil || !bytes.Contains(inspected, []byte(`"/other"`)) {
		t.Error(string(inspected), err)
	}
	if err := box.Remove(background, true); err != nil {
		t.Error(err)
	}
	if _, _, err := box.State(); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestFilesGoIntoAContainerAndComeOut(t *testing.T) {
	store, _ := busybox(t)
	box := must[*Container](t)(store.CreateContainer(background, "bb:1", &ContainerOptions{Command: []string{"sleep", "1000"}}))
	defer box.Close()
	defer box.Remove(background, true)
	host := t.TempDir()
	if err := os.MkdirAll(filepath.Join(host, "d/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "d/sub/f"), []byte("in\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if in := must[*CopyResult](t)(box.CopyIn(background, filepath.Join(host, "d"), "/bin", nil)); in.Unkept != 0 || len(in.Notes) != 0 {
		t.Errorf("%+v", in)
	}
	seen := must[[]byte](t)(box.Command(background, "sh", "-c", "cat /bin/d/sub/f; stat -c %u:%g:%a /bin/d/sub/f").Output())
	if string(seen) != "in\n0:0:640\n" {
		t.Errorf("%q", seen)
	}
	out := filepath.Join(host, "out")
	must[*CopyResult](t)(box.CopyOut(background, "/bin/d", out))
	if text, err := os.ReadFile(filepath.Join(out, "sub/f")); err != nil || string(text) != "in\n" {
		t.Errorf("%q %v", text, err)
	}
	if _, err := box.CopyOut(background, "/none", out); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	must[*CopyResult](t)(box.CopyIn(background, filepath.Join(host, "d"), "/beside", &CopyOptions{KeepOwners: true}))
	beside := filepath.Join(host, "beside")
	must[*CopyResult](t)(box.CopyOut(background, "/beside", beside))
	if text, err := os.ReadFile(filepath.Join(beside, "sub/f")); err != nil || string(text) != "in\n" {
		t.Errorf("%q %v", text, err)
	}
	must[*CopyResult](t)(box.CopyOut(background, "/bin/d/sub/f", host))
}

func TestManyCommandsAtOnceLeaveNothing(t *testing.T) {
	store, tree := busybox(t)
	trees := make([]string, 4)
	for i := range trees {
		trees[i] = filepath.Join(t.TempDir(), "tree")
		must[*CloneResult](t)(store.Clone(background, tree, trees[i], nil))
	}
	if err := store.Command(background, trees[0], "true").Run(); err != nil {
		t.Fatal(err)
	}
	traces := func() string {
		runtime.GC()
		open := must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd"))
		space := must[string](t)(os.Readlink("/proc/self/ns/user"))
		var status syscall.WaitStatus
		// No child is left, neither running nor to be waited for.
		_, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		return fmt.Sprint(len(open), space, err)
	}
	before := traces()
	var group sync.WaitGroup
	for i, dir := range trees {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 3 {
				text, err := store.Command(background, dir, "echo", fmt.Sprint(i)).Output()
				if err != nil || string(text) != fmt.Sprintln(i) {
					t.Errorf("%q %v", text, err)
				}
			}
		}()
	}
	group.Wait()
	if after := traces(); after != before || !strings.Contains(before, "no child") {
		t.Error(before, after)
	}
}
