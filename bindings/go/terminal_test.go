package treering

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen collects what a command writes.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *screen) await(t *testing.T, wanted string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if strings.Contains(text, wanted) {
			return
		}
	}
	t.Fatalf("no %q in %q", wanted, s.text.String())
}

func TestTerminalOfACommand(t *testing.T) {
	store, tree := busybox(t)
	box := must[*Container](t)(store.CreateContainer(background, "bb:1", &ContainerOptions{Command: []string{"sleep", "1000"}}))
	defer box.Close()
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	defer box.Remove(background, true)
	other := must[*Container](t)(store.CreateContainer(background, "bb:1", &ContainerOptions{TTY: true}))
	defer other.Close()
	script := []string{"-c", "stty size; read x; echo \"got $x $(stty size)\" >&2; cat; exit 4"}
	ways := map[string]*Cmd{
		"tree":      store.Command(background, tree, "sh", script...),
		"container": other.Command(background, "sh", script...),
		"exec":      box.Exec(background, "sh", script...),
	}
	for way, cmd := range ways {
		t.Run(way, func(t *testing.T) {
			var shown screen
			read, write := io.Pipe()
			// One that was made with a terminal has it without being asked once more.
			cmd.TTY = way != "container"
			cmd.Rows, cmd.Columns, cmd.Stdin, cmd.Stdout = 33, 99, read, &shown
			if err := cmd.Resize(1, 2); !errors.Is(err, ErrNotStarted) {
				t.Error(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			shown.await(t, "33 99\r\n")
			if err := cmd.Resize(7, 8); err != nil {
				t.Error(err)
			}
			_, _ = write.Write([]byte("yes\n"))
			shown.await(t, "got yes 7 8\r\n")
			if err := cmd.Detach(); !errors.Is(err, ErrInvalidArgument) {
				t.Error(err)
			}
			_ = write.Close()
			var failed *ExitError
			if err := cmd.Wait(); !errors.As(err, &failed) || failed.Code != 4 {
				t.Error(err)
			}
			if err := cmd.Resize(7, 8); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAContainerIsJoinedLeftAndJoinedAgain(t *testing.T) {
	store, _ := busybox(t)
	script := "while read x; do echo \"got $x $(stty size)\"; [ \"$x\" = end ] && exit 5; done"
	options := &ContainerOptions{Command: []string{"sh", "-c", script}, TTY: true, Interactive: true}
	box := must[*Container](t)(store.CreateContainer(background, "bb:1", options))
	defer box.Close()
	if err := box.Attach(background).Start(); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	defer box.Remove(background, true)
	before := len(must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd")))
	for _, way := range []string{"keys", "detach", "context", "end"} {
		ctx, cancel := context.WithCancel(background)
		var shown screen
		read, write := io.Pipe()
		cmd := box.Attach(ctx)
		cmd.Rows, cmd.Columns, cmd.Stdin, cmd.Stdout = 33, 99, read, &shown
		if err := cmd.Start(); err != nil {
			t.Fatal(way, err)
		}
		_, _ = write.Write([]byte(way + "1\n"))
		shown.await(t, "got "+way+"1 33 99\r\n")
		if err := cmd.Resize(5, 6); err != nil {
			t.Error(way, err)
		}
		_, _ = write.Write([]byte("more\n"))
		shown.await(t, "got more 5 6\r\n")
		expected := ErrDetached
		switch way {
		case "keys":
			_, _ = write.Write([]byte{16, 17})
		case "detach":
			if err := cmd.Detach(); err != nil {
				t.Error(err)
			}
		case "context":
			cancel()
			expected = ErrCancelled
		default:
			_, _ = write.Write([]byte("end\n"))
			expected = ErrCommandFailed
		}
		if err := cmd.Wait(); !errors.Is(err, expected) {
			t.Error(way, err)
		}
		_ = write.Close()
		cancel()
		status, code, err := box.State()
		if ended := way == "end"; ended != (status == Exited) || (ended && code != 5) || err != nil {
			t.Error(way, status, code, err)
		}
	}
	// The goroutines that copied from readers see the end of their pipes in a moment.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		now := len(must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd")))
		if now <= before {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d descriptors before, %d after", before, now)
		}
	}
}
