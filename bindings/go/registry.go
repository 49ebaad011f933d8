package treering

import (
	"context"
	"encoding/json"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Registries is how registries are reached: where they are, credentials, proxies, patience. A nil one stands for what the environment
// says. Connections belong to single operations; a wait for the network ends within a tenth of a second when the context does.
type Registries struct{ inner *ffi.Registries }

// RegistriesOptions says how registries are reached.
type RegistriesOptions struct {
	// ConfigFile says where registries are (registries.toml); that of the environment by default.
	ConfigFile string
	// AuthFile is where credentials are read and kept, in Docker's format; the files of the environment by default.
	AuthFile string
	// Username and Password are for every registry that is asked, before any file is looked at.
	Username, Password string
	// Stall is how long a connection may stand still; a minute when 0.
	Stall time.Duration
	// Attempts is how often a request is tried in all; 5 when 0.
	Attempts int
	// Credentials is asked before any file is looked at; nil sends the question on to the files. The place for credential helpers:
	// the library starts none. It is called from other goroutines, never from two at once.
	Credentials func(registry, repository string) (*Credential, error)
}

// Credential is how a request is authenticated: a user name and a password, or one of the tokens.
type Credential struct {
	Username, Password string
	// IdentityToken is exchanged for others by the registry's token server.
	IdentityToken string
	// RegistryToken is sent to the registry as it is.
	RegistryToken string
}

// NewRegistries reads the files of the options or of the environment. Options may be nil.
func NewRegistries(options *RegistriesOptions) (*Registries, error) {
	o := or(options)
	with := ffi.RegistriesOptions{ConfigFile: o.ConfigFile, AuthFile: o.AuthFile, Username: o.Username, Password: o.Password,
		Stall: o.Stall, Attempts: o.Attempts}
	if o.Credentials != nil {
		with.Credentials = func(registry, repository string) (*ffi.Credential, error) {
			found, err := o.Credentials(registry, repository)
			return (*ffi.Credential)(found), err
		}
	}
	inner, err := ffi.NewRegistries(with)
	return result(Registries{inner}, err)
}

func (r *Registries) h() *ffi.Registries {
	if r == nil {
		return nil
	}
	return r.inner
}

// Close frees the registries.
func (r *Registries) Close() error {
	if r == nil {
		return nil
	}
	return wrap(r.inner.Close())
}

// PullOptions says how an image is pulled.
type PullOptions struct {
	// Platform of an image for several; this machine's by default.
	Platform string
	// AllPlatforms fetches all that the index lists.
	AllPlatforms bool
	// AsName is the name the image gets in the store; the one it is pulled by when empty.
	AsName string
	// MaxRatio is how many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted; 0 for 1000.
	MaxRatio uint64
}

// PullResult is an image that was pulled.
type PullResult struct {
	// Digest the registry has it under: of the index when it is for several platforms, else of the manifest.
	Digest string
	// Manifest digest of the platform that was chosen.
	Manifest string
	// ImageID is the digest of the configuration.
	ImageID string
	// UpToDate is whether the name stood for this very image before, and nothing was missing.
	UpToDate bool
	// LayersFetched and their bytes; the others were in the store.
	LayersFetched, BytesFetched uint64
}

// Pull fetches an image, as docker pull does; the name moves to it. Layers that the store holds are not fetched, and everything is
// checked before the name changes. Registries and options may be nil.
func (s *Store) Pull(ctx context.Context, r *Registries, name string, options *PullOptions) (*PullResult, error) {
	made, err := ffi.Pull(ctx, s.h(), r.h(), name, ffi.PullOptions(or(options)))
	return result(PullResult(made), err)
}

// PullUnpack is [Store.Pull] and [Store.Unpack] at once: layers are applied while they arrive. After an error neither the name nor the
// directory is there. Registries and options may be nil; the platform is that of the pull.
func (s *Store) PullUnpack(ctx context.Context, r *Registries, name, dir string, options *PullOptions, apply *ApplyOptions) (*PullResult, *UnpackResult, error) {
	pulled, made, err := ffi.PullUnpack(ctx, s.h(), r.h(), name, dir, ffi.PullOptions(or(options)), ffi.ApplyOptions(or(apply)))
	if err != nil {
		return nil, nil, wrap(err)
	}
	return (*PullResult)(&pulled), &UnpackResult{Manifest: made.Manifest, Entries: made.Entries, InLedger: made.InLedger,
		Notes: notes(made.Notes)}, nil
}

// PushOptions says how an image is pushed.
type PushOptions struct {
	// Platform of the image that is pushed alone out of one for several.
	Platform string
	// NoMount sends blobs even where another repository of the registry is known to hold them.
	NoMount bool
}

// PushResult is an image that was pushed or copied.
type PushResult struct {
	// Digest that the registry has it under now.
	Digest string
	// Size of the manifest or index.
	Size uint64
	// Sent blobs and their bytes, those Mounted from another repository of the registry, and those Present before.
	Sent, BytesSent, Mounted, Present uint64
	// OnlyPlatform is whether this machine's platform was pushed alone, because the store does not hold the others.
	OnlyPlatform bool
}

// Push sends an image to a registry, as docker push does. What the registry has, or can take from another of its repositories, is not
// sent. Registries and options may be nil.
func (s *Store) Push(ctx context.Context, r *Registries, reference, target string, options *PushOptions) (*PushResult, error) {
	made, err := ffi.Push(ctx, s.h(), r.h(), reference, target, ffi.PushOptions(or(options)))
	return result(PushResult(made), err)
}

// Copy copies an image from one registry to another, or within one, and keeps nothing on disk. With a platform it is that one's image
// alone out of one for several.
func (r *Registries) Copy(ctx context.Context, source, target, platform string) (*PushResult, error) {
	made, err := ffi.CopyImage(ctx, r.h(), source, target, platform)
	return result(PushResult(made), err)
}

// Tags lists every tag of a repository, in the registry's order.
func (r *Registries) Tags(ctx context.Context, repository string) ([]string, error) {
	tags, err := ffi.Tags(ctx, r.h(), repository)
	return tags, wrap(err)
}

// RemoteManifest is a manifest or an index as a registry has it.
type RemoteManifest struct {
	Digest    string
	MediaType string
	// Bytes exactly as they are there.
	Bytes json.RawMessage
}

// Manifest reads a manifest or an index, and nothing below it.
func (r *Registries) Manifest(ctx context.Context, name string) (*RemoteManifest, error) {
	digest, mediaType, data, err := ffi.RemoteManifest(ctx, r.h(), name)
	return result(RemoteManifest{digest, mediaType, data}, err)
}

// Login asks a registry whether it takes a user name and a password, keeps them, and says where.
func (r *Registries) Login(ctx context.Context, registry, username, password string) (string, error) {
	where, err := ffi.Login(ctx, r.h(), registry, username, password)
	return where, wrap(err)
}

// Logout forgets the credentials of a registry, and says whether there were any.
func (r *Registries) Logout(registry string) (bool, error) {
	was, err := ffi.Logout(r.h(), registry)
	return was, wrap(err)
}

// CreateList makes a list of images for several platforms (an index), gives it a name in the store, from where [Store.Push] takes it, and
// gives its digest. Each image is one of the store, or else one of its registry, of which manifest and configuration are fetched. Amend
// adds to the list that has the name; without it a name that is there is ErrAlreadyExists. Registries may be nil.
func (s *Store) CreateList(ctx context.Context, r *Registries, name string, images []string, amend bool) (string, error) {
	digest, err := ffi.CreateList(ctx, s.h(), r.h(), name, images, amend)
	return digest, wrap(err)
}

// AnnotateList changes what a list in the store says about one of its images: its platform, unless that is empty, and annotations.
func (s *Store) AnnotateList(ctx context.Context, name, image, platform string, annotations map[string]string) (string, error) {
	digest, err := ffi.AnnotateList(ctx, s.h(), name, image, platform, annotations)
	return digest, wrap(err)
}
