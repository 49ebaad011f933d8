package ffi

// #include <treering.h>
//
// extern int32_t treeringGoCredentials(uintptr_t userdata, char *registry, char *repository, treering_answer *answer);
// extern void treeringGoDone(uintptr_t userdata);
// static int32_t ask_go(void *userdata, const char *registry, const char *repository, treering_answer *answer) {
//   return treeringGoCredentials((uintptr_t)userdata, (char *)registry, (char *)repository, answer);
// }
// static void done_go(void *userdata) { treeringGoDone((uintptr_t)userdata); }
// static treering_status registries_asking(const treering_registries_options *options, size_t size, uintptr_t go,
//     treering_registries **out, treering_error **err) {
//   return treering_registries_new(options, size, ask_go, (void *)go, done_go, out, err);
// }
import "C"

import (
	"context"
	"encoding/json"
	"runtime/cgo"
	"sync"
	"time"
	"unsafe"
)

// Credential as the public package has it.
type Credential struct {
	Username, Password           string
	IdentityToken, RegistryToken string
}

// RegistriesOptions as the public package has them.
type RegistriesOptions struct {
	ConfigFile, AuthFile string
	Username, Password   string
	Stall                time.Duration
	Attempts             int
	Credentials          func(registry, repository string) (*Credential, error)
}

// Registries is a handle, and what went wrong in its function last.
type Registries struct {
	*Handle
	asker *asker
}

type asker struct {
	mu  sync.Mutex
	ask func(registry, repository string) (*Credential, error)
	err error
}

// NewRegistries makes registries.
func NewRegistries(o RegistriesOptions) (*Registries, error) {
	var a arguments
	defer a.free()
	options := C.treering_registries_options{config_file: a.slice(o.ConfigFile), auth_file: a.slice(o.AuthFile),
		username: a.text(o.Username), password: a.text(o.Password)}
	options.stall_ms, options.attempts = C.uint32_t(o.Stall.Milliseconds()), C.uint32_t(o.Attempts)
	if a.err == nil && (o.Stall < 0 || o.Stall.Milliseconds() > 1<<32-1 || o.Attempts < 0 || o.Attempts > 1<<31-1) {
		a.err = NewError(InvalidArgument, "read argument", "stall or attempts is out of range", nil)
	}
	r := &Registries{}
	var out *C.treering_registries
	if o.Credentials == nil {
		a.do(func(e **C.treering_error) C.treering_status {
			return C.treering_registries_new(&options, C.size_t(unsafe.Sizeof(options)), nil, nil, nil, &out, e)
		})
	} else if a.err == nil {
		r.asker = &asker{ask: o.Credentials}
		handle := cgo.NewHandle(r.asker)
		a.do(func(e **C.treering_error) C.treering_status {
			return C.registries_asking(&options, C.size_t(unsafe.Sizeof(options)), C.uintptr_t(handle), &out, e)
		})
	}
	if a.err != nil {
		return nil, a.err
	}
	r.Handle = newHandle("registries", unsafe.Pointer(out), func(p unsafe.Pointer) {
		C.treering_registries_free((*C.treering_registries)(p))
	})
	return r, nil
}

//export treeringGoCredentials
func treeringGoCredentials(userdata C.uintptr_t, registry, repository *C.char, answer *C.treering_answer) C.int32_t {
	s := cgo.Handle(userdata).Value().(*asker)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = guard(func() error {
		found, err := s.ask(C.GoString(registry), C.GoString(repository))
		if err != nil || found == nil {
			return err
		}
		var a arguments
		defer a.free()
		switch {
		case found.IdentityToken != "" || found.RegistryToken != "":
			token := a.always(found.IdentityToken + found.RegistryToken)
			a.do(func(e **C.treering_error) C.treering_status {
				return C.treering_answer_token(answer, token, C.bool(found.IdentityToken != ""), e)
			})
		default:
			username, password := a.always(found.Username), a.always(found.Password)
			a.do(func(e **C.treering_error) C.treering_status {
				return C.treering_answer_basic(answer, username, password, e)
			})
		}
		return a.err
	})
	return code(s.err)
}

//export treeringGoDone
func treeringGoDone(userdata C.uintptr_t) { cgo.Handle(userdata).Delete() }

// registries is NULL, which stands for those of the environment, where there are none.
func (a *arguments) registries(r *Registries) *C.treering_registries {
	if r == nil {
		return nil
	}
	return (*C.treering_registries)(a.use(r.Handle))
}

// blamed puts the error of the function for credentials behind the one the library makes of it.
func (r *Registries) blamed(err error) error {
	failure, is := err.(*Error)
	if r == nil || r.asker == nil || !is || failure.Status != Callback || failure.Cause != nil {
		return err
	}
	r.asker.mu.Lock()
	defer r.asker.mu.Unlock()
	if r.asker.err != nil {
		failure.Cause = r.asker.err
		failure.Message = r.asker.err.Error()
		failure.Text = failure.Operation + ": " + failure.Message
	}
	return failure
}

// network runs an operation that may reach registries.
func (a *arguments) network(ctx context.Context, r *Registries,
	f func(c *C.treering_control, e **C.treering_error) C.treering_status) {
	if a.err == nil {
		a.err = r.blamed(operate(ctx, f))
		if a.explain != nil {
			a.err = a.explain(a.err)
		}
	}
}

// PullOptions as the public package has them.
type PullOptions struct {
	Platform     string
	AllPlatforms bool
	AsName       string
	MaxRatio     uint64
}

func (a *arguments) pull(o PullOptions) C.treering_pull_options {
	return C.treering_pull_options{platform: a.text(o.Platform), all_platforms: C.bool(o.AllPlatforms), as_name: a.text(o.AsName),
		max_ratio: C.uint64_t(o.MaxRatio)}
}

// PullResult is an image that was pulled.
type PullResult struct {
	Digest, Manifest, ImageID   string
	UpToDate                    bool
	LayersFetched, BytesFetched uint64
}

func pullResult(r *C.treering_pull_result) PullResult {
	return PullResult{Digest: digest(&r.digest), Manifest: digest(&r.manifest), ImageID: digest(&r.image_id),
		UpToDate: bool(r.up_to_date), LayersFetched: uint64(r.layers_fetched), BytesFetched: uint64(r.bytes_fetched)}
}

// Pull pulls an image.
func Pull(ctx context.Context, store *Handle, r *Registries, name string, o PullOptions) (PullResult, error) {
	var a arguments
	defer a.free()
	s, reg, n, options := (*C.treering_store)(a.use(store)), a.registries(r), a.always(name), a.pull(o)
	var out C.treering_pull_result
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_pull(s, reg, n, &options, C.size_t(unsafe.Sizeof(options)), c, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return pullResult(&out), a.err
}

// PullUnpack pulls an image and unpacks it meanwhile.
func PullUnpack(ctx context.Context, store *Handle, r *Registries, name, dir string, o PullOptions,
	apply ApplyOptions) (PullResult, UnpackResult, error) {
	var a arguments
	defer a.free()
	s, reg, n, options, how := (*C.treering_store)(a.use(store)), a.registries(r), a.always(name), a.pull(o), a.apply(apply)
	path, pathLen := a.bytes(dir)
	var out C.treering_pull_result
	var made C.treering_unpack_result
	var report *C.treering_report
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_pull_unpack(s, reg, n, path, pathLen, &options, C.size_t(unsafe.Sizeof(options)), &how,
			C.size_t(unsafe.Sizeof(how)), c, &out, C.size_t(unsafe.Sizeof(out)), &made, C.size_t(unsafe.Sizeof(made)), &report, e)
	})
	return pullResult(&out), UnpackResult{Manifest: digest(&made.manifest), Entries: uint64(made.entries),
		InLedger: uint64(made.in_ledger), Notes: takeReport(report)}, a.err
}

// PushOptions as the public package has them.
type PushOptions struct {
	Platform string
	NoMount  bool
}

// PushResult is an image that was pushed or copied.
type PushResult struct {
	Digest                                  string
	Size, Sent, BytesSent, Mounted, Present uint64
	OnlyPlatform                            bool
}

func pushResult(r *C.treering_push_result) PushResult {
	return PushResult{Digest: digest(&r.digest), Size: uint64(r.size), Sent: uint64(r.sent), BytesSent: uint64(r.bytes_sent),
		Mounted: uint64(r.mounted), Present: uint64(r.present), OnlyPlatform: bool(r.only_platform)}
}

// Push pushes an image.
func Push(ctx context.Context, store *Handle, r *Registries, reference, target string, o PushOptions) (PushResult, error) {
	var a arguments
	defer a.free()
	s, reg, ref, to := (*C.treering_store)(a.use(store)), a.registries(r), a.always(reference), a.always(target)
	options := C.treering_push_options{platform: a.text(o.Platform), no_mount: C.bool(o.NoMount)}
	var out C.treering_push_result
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_push(s, reg, ref, to, &options, C.size_t(unsafe.Sizeof(options)), c, &out,
			C.size_t(unsafe.Sizeof(out)), e)
	})
	return pushResult(&out), a.err
}

// CopyImage copies an image from registry to registry.
func CopyImage(ctx context.Context, r *Registries, source, target, platform string) (PushResult, error) {
	var a arguments
	defer a.free()
	reg, from, to, p := a.registries(r), a.always(source), a.always(target), a.text(platform)
	var out C.treering_push_result
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_copy(reg, from, to, p, c, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return pushResult(&out), a.err
}

// Tags lists those of a repository.
func Tags(ctx context.Context, r *Registries, repository string) (tags []string, err error) {
	var a arguments
	defer a.free()
	reg, name := a.registries(r), a.always(repository)
	var out *C.treering_bytes
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_tags(reg, name, c, &out, e)
	})
	if list := takeBytes(out); a.err == nil {
		a.err = json.Unmarshal(list, &tags)
	}
	return tags, a.err
}

// RemoteManifest reads a manifest.
func RemoteManifest(ctx context.Context, r *Registries, name string) (sum, mediaType string, data []byte, err error) {
	var a arguments
	defer a.free()
	reg, n := a.registries(r), a.always(name)
	var d C.treering_digest
	var media, out *C.treering_bytes
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_manifest(reg, n, c, &d, &media, &out, e)
	})
	return digest(&d), string(takeBytes(media)), takeBytes(out), a.err
}

// CreateList makes a list of images.
func CreateList(ctx context.Context, store *Handle, r *Registries, name string, images []string, amend bool) (string, error) {
	var a arguments
	defer a.free()
	s, reg, n := (*C.treering_store)(a.use(store)), a.registries(r), a.always(name)
	list, count := a.texts(images)
	var out C.treering_digest
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_list_create(s, reg, n, list, count, C.bool(amend), c, &out, e)
	})
	return digest(&out), a.err
}

// AnnotateList changes what a list says of an image.
func AnnotateList(ctx context.Context, store *Handle, name, image, platform string, annotations map[string]string) (string, error) {
	var a arguments
	defer a.free()
	s, n, i, p := (*C.treering_store)(a.use(store)), a.always(name), a.always(image), a.text(platform)
	pairs, count := a.pairs(annotations)
	var out C.treering_digest
	a.network(ctx, nil, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_list_annotate(s, n, i, p, pairs, count, c, &out, e)
	})
	return digest(&out), a.err
}

// Login keeps credentials that a registry takes, and says where.
func Login(ctx context.Context, r *Registries, registry, username, password string) (string, error) {
	var a arguments
	defer a.free()
	reg, n, u, p := a.registries(r), a.always(registry), a.always(username), a.always(password)
	var out *C.treering_bytes
	a.network(ctx, r, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_registry_login(reg, n, u, p, c, &out, e)
	})
	return string(takeBytes(out)), a.err
}

// Logout forgets credentials.
func Logout(r *Registries, registry string) (bool, error) {
	var a arguments
	defer a.free()
	reg, n := a.registries(r), a.always(registry)
	var was C.bool
	a.do(func(e **C.treering_error) C.treering_status { return C.treering_registry_logout(reg, n, &was, e) })
	return bool(was), a.err
}
