package treering

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestBuild(t *testing.T) {
	store, dir := emptyStore(t), t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch AS one\nARG V=1\nCOPY f /f\nLABEL v=$V\n# two is the other\nFROM one AS two\nCOPY f /g\n")
	write(t, filepath.Join(dir, "f"), "content")
	epoch := time.Unix(0, 0)
	options := &BuildOptions{Context: dir, Tags: []string{"app:1", "app:2"}, BuildArgs: map[string]string{"V": "7"},
		SourceDateEpoch: &epoch, Labels: map[string]string{"l": "1"}}
	var kinds []EventKind
	ctx := WithEvents(background, func(e Event) { kinds = append(kinds, e.Kind) })
	made := must[*BuildResult](t)(store.Build(ctx, options))
	if made.CarriedOut == 0 || made.Cached != 0 || !slices.Contains(kinds, StepStarted) || !slices.Contains(kinds, StepFinished) {
		t.Errorf("%+v %v", made, kinds)
	}
	again := must[*BuildResult](t)(store.Build(background, options))
	if again.ImageID != made.ImageID || again.CarriedOut != 0 || again.Cached != made.CarriedOut {
		t.Errorf("%+v", again)
	}
	image := must[*Image](t)(store.Image("app:2"))
	defer image.Close()
	if inspected := must[*Inspection](t)(image.Inspect()); inspected.ID != made.ImageID || inspected.Created != "1970-01-01T00:00:00Z" {
		t.Errorf("%+v", inspected)
	}
	if text := must[[]byte](t)(image.FS().ReadFile("g")); string(text) != "content" {
		t.Errorf("%q", text)
	}

	targets := must[[]BuildTarget](t)(store.BuildTargets(background, options))
	if len(targets) != 2 || targets[0].Name != "one" || !targets[1].Default || targets[1].Base != "one" {
		t.Errorf("%+v", targets)
	}
	outline := must[*BuildOutline](t)(store.BuildOutline(background, &BuildOptions{Context: dir, Target: "one"}))
	if outline.Name != "one" || len(outline.Args) != 1 || outline.Args[0].Name != "V" || *outline.Args[0].Value != "1" || outline.Args[0].Location.Line == 0 {
		t.Errorf("%+v", outline)
	}
	text := "FROM scratch\nARG N=s\nRUN --mount=type=secret,id=${N}1,required --mount=type=ssh x\n"
	outline = must[*BuildOutline](t)(store.BuildOutline(background, &BuildOptions{DockerfileText: text}))
	place := Location{File: "Dockerfile", Line: 3, Column: 1, Text: "RUN --mount=type=secret,id=${N}1,required --mount=type=ssh x"}
	if !slices.Equal(outline.Secrets, []BuildMount{{"s1", true, place}}) || !slices.Equal(outline.SSH, []BuildMount{{"default", false, place}}) {
		t.Errorf("%+v", outline)
	}
	found, fails, err := store.BuildCheck(background, &BuildOptions{DockerfileText: "# check=error=true\nfrom scratch AS one\nMAINTAINER me\n"})
	if err != nil || !fails || len(found) == 0 || found[len(found)-1].Line != 3 || found[len(found)-1].Rule != "MaintainerDeprecated" {
		t.Errorf("%+v %v %v", found, fails, err)
	}
}

func TestBuildSquashedForSeveralPlatforms(t *testing.T) {
	store := emptyStore(t)
	options := &BuildOptions{DockerfileText: "FROM scratch\nCOPY <<A /a\n1\nA\nCOPY <<B /b\n2\nB\n", Tags: []string{"both"},
		Platform: "linux/amd64,linux/arm64", Squash: true, Jobs: 1}
	made := must[*BuildResult](t)(store.Build(background, options))
	if made.CarriedOut != 4 {
		t.Errorf("%+v", made)
	}
	image := must[*Image](t)(store.Image("both"))
	defer image.Close()
	if inspected := must[*Inspection](t)(image.Inspect()); len(inspected.RootFS.Layers) != 1 {
		t.Errorf("%+v", inspected.RootFS)
	}
	for _, wrong := range []*BuildOptions{
		{DockerfileText: "FROM scratch\n", Limits: []string{"nofile=many"}},
		{DockerfileText: "FROM scratch\n", Platform: "linux/amd64/v2/more"},
		{Context: ".", ContextAddress: "https://host.example/x"},
	} {
		if _, err := store.Build(background, wrong); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func TestBuildWithAttestations(t *testing.T) {
	store := emptyStore(t)
	options := &BuildOptions{DockerfileText: "FROM scratch\nCOPY <<A /a\n1\nA\n", Tags: []string{"app"}}
	plain := must[*BuildResult](t)(store.Build(background, options))
	options.Provenance, options.SBOM = "mode=max,builder-id=https://ci.example/7", true
	made := must[*BuildResult](t)(store.Build(background, options))
	if made.Manifest == plain.Manifest || made.ImageID != plain.ImageID || made.CarriedOut != 0 {
		t.Errorf("%+v %+v", made, plain)
	}
	image := must[*Image](t)(store.Image("app"))
	defer image.Close()
	options.Provenance = "most"
	if _, err := store.Build(background, options); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestBuildsThatFail(t *testing.T) {
	store := emptyStore(t)
	_, err := store.Build(background, &BuildOptions{DockerfileText: "FROM scratch\nNOPE x\n"})
	var failure *Error
	if !errors.Is(err, ErrSyntax) || !errors.As(err, &failure) || failure.Location == nil || failure.Location.Line != 2 {
		t.Errorf("%v %+v", err, failure)
	}
	if _, err := store.Build(background, &BuildOptions{DockerfileText: "FROM absent:1\n"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := store.Build(background, &BuildOptions{Dockerfile: "x", DockerfileText: "FROM scratch\n"}); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(background)
	cancel()
	if _, err := store.Build(ended, &BuildOptions{DockerfileText: "FROM scratch\n"}); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
}
