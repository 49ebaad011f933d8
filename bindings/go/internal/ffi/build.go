package ffi

// #include <treering.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// BuildOptions as the public package has them.
type BuildOptions struct {
	Context, Dockerfile, DockerfileText string
	BuildContexts                       map[string]string
	Tags                                []string
	Target                              string
	BuildArgs, Labels, Annotations      map[string]string
	NoCache                             bool
	NoCacheFilter, CacheFrom, CacheTo   []string
	Platform, Compression               string
	Level                               int
	Nanoseconds                         bool
	SourceDateEpoch                     *time.Time
	Registries                          *Registries
	Pull                                bool
	Helper, Checks                      string
	Threads                             int
	ContextAddress                      string
	Squash                              bool
	Jobs                                int
	Secrets, SecretFiles, Agents, Hosts map[string]string
	Limits                              []string
	ShmSize                             uint64
	NoNetwork                           bool
	Provenance                          string
	SBOM                                bool
	Git                                 GitFunc
}

func (a *arguments) build(ctx context.Context, o BuildOptions) (p C.treering_build_options) {
	p.context, p.dockerfile, p.dockerfile_text = a.slice(o.Context), a.slice(o.Dockerfile), a.slice(o.DockerfileText)
	p.build_contexts, p.build_contexts_len = a.pairs(o.BuildContexts)
	p.tags, p.tags_len = a.texts(o.Tags)
	p.target, p.platform, p.checks = a.text(o.Target), a.text(o.Platform), a.text(o.Checks)
	p.build_args, p.build_args_len = a.pairs(o.BuildArgs)
	p.labels, p.labels_len = a.pairs(o.Labels)
	p.annotations, p.annotations_len = a.pairs(o.Annotations)
	p.no_cache, p.pull, p.nanoseconds = C.bool(o.NoCache), C.bool(o.Pull), C.bool(o.Nanoseconds)
	p.no_cache_filter, p.no_cache_filter_len = a.texts(o.NoCacheFilter)
	p.cache_from, p.cache_from_len = a.texts(o.CacheFrom)
	p.cache_to, p.cache_to_len = a.texts(o.CacheTo)
	p.compression, p.level = a.text(o.Compression), a.level(o.Level)
	if o.SourceDateEpoch != nil {
		p.source_date_epoch = a.second(*o.SourceDateEpoch)
	}
	p.context_address, p.squash, p.jobs = a.text(o.ContextAddress), C.bool(o.Squash), a.threads(o.Jobs)
	p.secrets, p.secrets_len = a.pairs(o.Secrets)
	p.secret_files, p.secret_files_len = a.pairs(o.SecretFiles)
	p.agents, p.agents_len = a.pairs(o.Agents)
	p.hosts, p.hosts_len = a.pairs(o.Hosts)
	p.limits, p.limits_len = a.texts(o.Limits)
	p.shm_size, p.no_network = C.uint64_t(o.ShmSize), C.bool(o.NoNetwork)
	p.provenance, p.sbom = a.text(o.Provenance), C.bool(o.SBOM)
	p.git = a.git(ctx, o.Git)
	p.registries, p.helper, p.threads = a.registries(o.Registries), a.slice(o.Helper), a.threads(o.Threads)
	return p
}

// BuildResult is what a build made.
type BuildResult struct {
	Manifest, ImageID                          string
	ManifestSize, Cached, CarriedOut, Warnings uint64
}

// Build builds an image.
func Build(ctx context.Context, store *Handle, o BuildOptions) (BuildResult, error) {
	var a arguments
	defer a.free()
	s, options := (*C.treering_store)(a.use(store)), a.build(ctx, o)
	var out C.treering_build_result
	a.network(ctx, o.Registries, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		return C.treering_build(s, &options, C.size_t(unsafe.Sizeof(options)), c, &out, C.size_t(unsafe.Sizeof(out)), e)
	})
	return BuildResult{Manifest: digest(&out.manifest), ImageID: digest(&out.image_id), ManifestSize: uint64(out.manifest_size),
		Cached: uint64(out.cached), CarriedOut: uint64(out.carried_out), Warnings: uint64(out.warnings)}, a.err
}

// The ways to look at a Dockerfile.
const (
	LookCheck = iota
	LookOutline
	LookTargets
)

// LookAtBuild looks at a Dockerfile and builds nothing.
func LookAtBuild(ctx context.Context, store *Handle, o BuildOptions, what int) (data []byte, fails bool, err error) {
	var a arguments
	defer a.free()
	s, options := (*C.treering_store)(a.use(store)), a.build(ctx, o)
	var out *C.treering_bytes
	var failing C.bool
	a.network(ctx, o.Registries, func(c *C.treering_control, e **C.treering_error) C.treering_status {
		switch what {
		case LookCheck:
			return C.treering_build_check(s, &options, C.size_t(unsafe.Sizeof(options)), c, &failing, &out, e)
		case LookOutline:
			return C.treering_build_outline(s, &options, C.size_t(unsafe.Sizeof(options)), c, &out, e)
		}
		return C.treering_build_targets(s, &options, C.size_t(unsafe.Sizeof(options)), c, &out, e)
	})
	return takeBytes(out), bool(failing), a.err
}
