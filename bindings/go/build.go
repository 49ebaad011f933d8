package treering

import (
	"context"
	"time"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// BuildOptions says how a Dockerfile becomes an image.
type BuildOptions struct {
	// Context is the directory with the files; none by default. ContextAddress is where a tar or a Dockerfile is instead.
	Context, ContextAddress string
	// Dockerfile is its path; Dockerfile in the context by default. DockerfileText is the text itself.
	Dockerfile, DockerfileText string
	// BuildContexts are further contexts by name: a directory, or docker-image://NAME.
	BuildContexts map[string]string
	// Tags are the names of the image.
	Tags []string
	// Target is the stage to build, by name or number; the last one by default.
	Target string
	// BuildArgs are values of arguments.
	BuildArgs map[string]string
	// Labels and Annotations to add.
	Labels, Annotations map[string]string
	// NoCache carries out every step, NoCacheFilter those of some stages, whatever the cache has.
	NoCache       bool
	NoCacheFilter []string
	// CacheFrom is where records of steps are looked for that the store does not have, and CacheTo where they go: a reference, or
	// type=local,src=DIRECTORY and the like, as docker build has them.
	CacheFrom, CacheTo []string
	// Platform as os/arch[/variant], several with commas between them; this machine's by default.
	Platform string
	// Compression of the layers: none, gzip or zstd; gzip by default. Level 0 is the default one.
	Compression string
	Level       int
	// Nanoseconds in time stamps; whole seconds by default.
	Nanoseconds bool
	// SourceDateEpoch is the time of everything that the build dates, and the latest time in a layer; nil for now, and for times as
	// they are.
	SourceDateEpoch *time.Time
	// Registries are where base images come from that are not in the store; from nowhere when nil.
	Registries *Registries
	// Pull asks them for newer versions of base images.
	Pull bool
	// Helper is the program that commands are started with, treering-init or treering; looked for when empty.
	Helper string
	// Checks are skipped as the directive check says it.
	Checks string
	// Squash makes one layer of those of the build.
	Squash bool
	// Jobs is the most commands that run at once; 0 for one per processor.
	Jobs int
	// Secrets that commands may be shown: id and value; SecretFiles: id and path. They are in no cache, layer, event or message.
	Secrets, SecretFiles map[string]string
	// Agents that commands may reach: id (default for mounts that name none) and the path of the socket.
	Agents map[string]string
	// Hosts are more lines for the /etc/hosts of commands: name and address.
	Hosts map[string]string
	// Limits of commands, such as nofile=1024:4096.
	Limits []string
	// ShmSize is the most bytes in /dev/shm of commands; 0 for 64 MiB.
	ShmSize uint64
	// NoNetwork gives commands no network, unless RUN --network=host asks for that of the host.
	NoNetwork bool
	// Provenance attests how the image was built: true, mode=min or mode=max, with builder-id=URI or reproducible=true behind a comma. The
	// name stands for an index then. Not by default.
	Provenance string
	// SBOM attests what is in the image.
	SBOM bool
	// Git runs git, for repositories as contexts and in ADD; without it they are refused. [RunGit] runs that of PATH. It is called from
	// goroutines of the operation, never from two at once, and never after that has returned.
	Git func(ctx context.Context, call *GitCall) (*GitAnswer, error)
	// Threads to use; 0 for one per processor.
	Threads int
}

func (o BuildOptions) ffi() ffi.BuildOptions {
	return ffi.BuildOptions{Context: o.Context, Dockerfile: o.Dockerfile, DockerfileText: o.DockerfileText,
		BuildContexts: o.BuildContexts, Tags: o.Tags, Target: o.Target, BuildArgs: o.BuildArgs, Labels: o.Labels,
		Annotations: o.Annotations, NoCache: o.NoCache, NoCacheFilter: o.NoCacheFilter, CacheFrom: o.CacheFrom, CacheTo: o.CacheTo, Platform: o.Platform,
		Compression: o.Compression, Level: o.Level, Nanoseconds: o.Nanoseconds, SourceDateEpoch: o.SourceDateEpoch,
		Registries: o.Registries.h(), Pull: o.Pull, Helper: o.Helper, Checks: o.Checks, Threads: o.Threads,
		ContextAddress: o.ContextAddress, Squash: o.Squash, Jobs: o.Jobs, Secrets: o.Secrets, SecretFiles: o.SecretFiles,
		Agents: o.Agents, Hosts: o.Hosts, Limits: o.Limits, ShmSize: o.ShmSize, NoNetwork: o.NoNetwork, Provenance: o.Provenance, SBOM: o.SBOM, Git: o.git()}
}

// BuildResult is what a build made.
type BuildResult struct {
	// Manifest digest.
	Manifest string
	// ImageID is the digest of the configuration.
	ImageID string
	// ManifestSize in bytes.
	ManifestSize uint64
	// Cached steps came out of the cache, CarriedOut ones did not.
	Cached, CarriedOut uint64
	// Warnings is how many the checks gave; each is an event as well.
	Warnings uint64
}

// Build builds an image from a Dockerfile, in BuildKit's language. [WithEvents] has what happens: steps, output, warnings. RUN starts
// processes, each isolated in a tree of its own. A command that failed is ErrCommandFailed with its exit code; a Dockerfile that is wrong
// is ErrSyntax with the place. Options may be nil.
func (s *Store) Build(ctx context.Context, options *BuildOptions) (*BuildResult, error) {
	made, err := ffi.Build(ctx, s.h(), or(options).ffi())
	return result(BuildResult(made), err)
}

// BuildWarning is what a rule of BuildKit's linter found.
type BuildWarning struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Text    string `json:"text"`
}

// BuildCheck checks a Dockerfile and builds nothing: what the rules found, and whether warnings are to be errors.
func (s *Store) BuildCheck(ctx context.Context, options *BuildOptions) (found []BuildWarning, fails bool, err error) {
	data, fails, err := ffi.LookAtBuild(ctx, s.h(), or(options).ffi(), ffi.LookCheck)
	list, err := decode[[]BuildWarning](data, err)
	if err != nil {
		return nil, false, err
	}
	return *list, fails, nil
}

// BuildOutline is what a target of a Dockerfile takes.
type BuildOutline struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Args        []BuildArg `json:"args"`
	// Secrets and SSH are the secrets and agents its commands mount.
	Secrets []BuildMount `json:"secrets"`
	SSH     []BuildMount `json:"ssh"`
}

// BuildMount is a secret or an agent that commands of a build mount.
type BuildMount struct {
	// ID that it is given by.
	ID string `json:"id"`
	// Required is whether a command fails without it.
	Required bool `json:"required"`
	// Location of the first command that mounts it.
	Location Location `json:"location"`
}

// BuildArg is an argument that a build takes.
type BuildArg struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Value in this build; nil for none.
	Value *string `json:"value"`
	// Location of its ARG.
	Location Location `json:"location"`
}

// BuildOutline lists what a target takes, and builds nothing.
func (s *Store) BuildOutline(ctx context.Context, options *BuildOptions) (*BuildOutline, error) {
	data, _, err := ffi.LookAtBuild(ctx, s.h(), or(options).ffi(), ffi.LookOutline)
	return decode[BuildOutline](data, err)
}

// BuildTarget is a stage that can be built.
type BuildTarget struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Base        string `json:"base"`
	// Default is whether it is built when none is named.
	Default bool `json:"default"`
}

// BuildTargets lists the stages that can be built, and builds nothing.
func (s *Store) BuildTargets(ctx context.Context, options *BuildOptions) ([]BuildTarget, error) {
	data, _, err := ffi.LookAtBuild(ctx, s.h(), or(options).ffi(), ffi.LookTargets)
	list, err := decode[[]BuildTarget](data, err)
	if err != nil {
		return nil, err
	}
	return *list, nil
}
