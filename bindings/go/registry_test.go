package treering

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// smallRegistry keeps what is pushed in memory.
type smallRegistry struct {
	host string
	mu   sync.Mutex
	// kept is media type and bytes by path.
	kept map[string][2]string
	// password that is wanted, unless it is empty.
	password atomic.Value
	// silent has requests wait for the end of the test.
	silent atomic.Bool
	end    chan struct{}
}

func newRegistry(t *testing.T) *smallRegistry {
	r := &smallRegistry{kept: map[string][2]string{}, end: make(chan struct{})}
	r.password.Store("")
	server := httptest.NewServer(r)
	r.host = server.Listener.Addr().String()
	t.Cleanup(func() { close(r.end); server.Close() })
	dir := t.TempDir()
	write(t, filepath.Join(dir, "registries.toml"), "[[registry]]\nprefix = \""+r.host+"\"\nlocation = \"http://"+r.host+"\"\n")
	t.Setenv("TREERING_REGISTRIES", filepath.Join(dir, "registries.toml"))
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "auth.json"))
	return r
}

func sum(data []byte) string {
	hash := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(hash[:])
}

func (r *smallRegistry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if r.silent.Load() {
		<-r.end
		return
	}
	if want := r.password.Load().(string); want != "" {
		if _, password, _ := q.BasicAuth(); password != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	body, _ := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	repository, name, _ := strings.Cut(q.URL.Path, "/manifests/")
	switch {
	case q.URL.Path == "/v2/":
	case strings.HasSuffix(q.URL.Path, "/tags/list"):
		tags := []string{}
		for path := range r.kept {
			if _, tag, is := strings.Cut(path, "/manifests/"); is && !strings.Contains(tag, ":") {
				tags = append(tags, tag)
			}
		}
		slices.Sort(tags)
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": tags})
	case strings.HasSuffix(q.URL.Path, "/blobs/uploads/") && q.Method == "POST":
		w.Header().Set("Location", q.URL.Path+"one")
		w.WriteHeader(http.StatusAccepted)
	case strings.HasSuffix(q.URL.Path, "/blobs/uploads/one") && q.Method == "PUT":
		r.kept[strings.TrimSuffix(q.URL.Path, "uploads/one")+q.URL.Query().Get("digest")] = [2]string{"application/octet-stream", string(body)}
		w.WriteHeader(http.StatusCreated)
	case q.Method == "PUT" && name != "":
		for _, name := range []string{name, sum(body)} {
			r.kept[repository+"/manifests/"+name] = [2]string{q.Header.Get("Content-Type"), string(body)}
		}
		w.WriteHeader(http.StatusCreated)
	default:
		kept, found := r.kept[q.URL.Path]
		if !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", kept[0])
		_, _ = io.WriteString(w, kept[1])
	}
}

func TestPushPullCopy(t *testing.T) {
	registry, store := newRegistry(t), emptyStore(t)
	made := imageOf(t, store, "app:v1", func(tree string) { write(t, filepath.Join(tree, "f"), "content") })
	name := registry.host + "/team/app:v1"
	var transfers, reports int
	ctx := WithProgress(WithEvents(background, func(e Event) {
		if e.Kind == BlobTransfer {
			transfers++
		}
	}), func(Progress) { reports++ })
	pushed := must[*PushResult](t)(store.Push(ctx, nil, "app:v1", name, nil))
	if pushed.Sent != 2 || pushed.OnlyPlatform || transfers == 0 || reports == 0 {
		t.Errorf("%+v %d %d", pushed, transfers, reports)
	}
	var env *Registries
	if tags := must[[]string](t)(env.Tags(background, registry.host+"/team/app")); !slices.Equal(tags, []string{"v1"}) {
		t.Error(tags)
	}
	manifest := must[*RemoteManifest](t)(env.Manifest(background, name))
	if manifest.Digest != made.Digest() || string(manifest.Bytes) != string(made.Manifest()) || !strings.Contains(manifest.MediaType, "manifest") {
		t.Errorf("%+v", manifest)
	}

	other := emptyStore(t)
	pulled := must[*PullResult](t)(other.Pull(background, nil, name, &PullOptions{AsName: "mine:1"}))
	if pulled.Digest != pushed.Digest || pulled.ImageID != made.ID() || pulled.LayersFetched != 1 || pulled.UpToDate {
		t.Errorf("%+v", pulled)
	}
	must[string](t)(func() (string, error) { digest, _, err := other.Resolve("mine:1"); return digest, err }())
	dir := filepath.Join(t.TempDir(), "out")
	again, unpacked, err := other.PullUnpack(background, nil, name, dir, nil, nil)
	if err != nil || again.LayersFetched != 0 || unpacked.Entries != 1 {
		t.Errorf("%+v %+v %v", again, unpacked, err)
	}
	if text := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "f"))); string(text) != "content" {
		t.Errorf("%q", text)
	}
	if _, err := other.Pull(background, nil, registry.host+"/team/app:none", nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}

	copied := must[*PushResult](t)(env.Copy(background, name, registry.host+"/copy/app:v2", ""))
	if copied.Digest != pushed.Digest {
		t.Errorf("%+v", copied)
	}
	list := must[string](t)(store.CreateList(background, nil, "all:1", []string{"app:v1"}, false))
	if _, err := store.CreateList(background, nil, "all:1", []string{"app:v1"}, false); !errors.Is(err, ErrAlreadyExists) {
		t.Error(err)
	}
	annotated := must[string](t)(store.AnnotateList(background, "all:1", "app:v1", "", map[string]string{"k": "v"}))
	if annotated == list {
		t.Error(list)
	}
	must[*PushResult](t)(store.Push(background, nil, "all:1", registry.host+"/team/app:all", nil))
	index := must[*RemoteManifest](t)(env.Manifest(background, registry.host+"/team/app:all"))
	if index.Digest != annotated || !strings.Contains(string(index.Bytes), `"k":"v"`) {
		t.Errorf("%+v", index)
	}
}

func TestCredentials(t *testing.T) {
	registry, store := newRegistry(t), emptyStore(t)
	imageOf(t, store, "app:v1", func(tree string) { write(t, filepath.Join(tree, "f"), "content") })
	registry.password.Store("secret")
	name := registry.host + "/app:v1"
	var env *Registries
	if _, err := store.Push(background, nil, "app:v1", name, nil); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	if _, err := env.Login(background, registry.host, "user", "wrong"); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	given := must[*Registries](t)(NewRegistries(&RegistriesOptions{Username: "user", Password: "secret"}))
	must[*PushResult](t)(store.Push(background, given, "app:v1", name, nil))
	try(t, given.Close())
	if _, err := given.Tags(background, registry.host+"/app"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	broken := errors.New("broken")
	var asked []string
	asking := must[*Registries](t)(NewRegistries(&RegistriesOptions{Credentials: func(host, repository string) (*Credential, error) {
		asked = append(asked, host+" "+repository)
		switch len(asked) {
		case 1:
			return nil, broken
		case 2:
			panic("oh no")
		}
		return &Credential{Username: "user", Password: "secret"}, nil
	}}))
	defer asking.Close()
	if _, err := asking.Tags(background, registry.host+"/app"); !errors.Is(err, broken) || !errors.Is(err, ErrCallback) {
		t.Error(err)
	}
	var panicked *PanicError
	if _, err := asking.Tags(background, registry.host+"/app"); !errors.As(err, &panicked) {
		t.Error(err)
	}
	must[[]string](t)(asking.Tags(background, registry.host+"/app"))
	if !slices.Equal(asked, slices.Repeat([]string{registry.host + " app"}, 3)) {
		t.Errorf("%q", asked)
	}
	if _, err := NewRegistries(&RegistriesOptions{Username: "user"}); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}

	if where := must[string](t)(env.Login(background, registry.host, "user", "secret")); where != os.Getenv("REGISTRY_AUTH_FILE") {
		t.Error(where)
	}
	must[[]string](t)(env.Tags(background, registry.host+"/app"))
	for _, want := range []bool{true, false} {
		if was := must[bool](t)(env.Logout(registry.host)); was != want {
			t.Error(was)
		}
	}
}

func TestWaitingForARegistryIsCancelled(t *testing.T) {
	registry, store := newRegistry(t), emptyStore(t)
	registry.silent.Store(true)
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := store.Pull(ctx, nil, registry.host+"/app:v1", nil)
	if took := time.Since(began); took > 2*time.Second || !errors.Is(err, ErrCancelled) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(took, err)
	}
}
