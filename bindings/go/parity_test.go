package treering

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The table that Rust, C, Go and Python share; tests/data/README.md says what its steps mean.
const parityTable = "../../tests/data/parity.json"

// when every file of a tree was changed, by the rules of the table.
var when = time.Unix(1_700_000_000, 0)

// The result of a step: texts, numbers and lists of texts, or only "error".
type outcome map[string]any

// parityEntry is a file, directory or link that a step makes.
type parityEntry struct{ Type, Path, Mode, Content, Target, Name string }

// parityOptions are the options of all operations together.
type parityOptions struct {
	Base, Compare, Owner, Compression string
	Level                             int
	Nanoseconds                       bool
	ClampMtime                        *int64 `json:"clamp_mtime"`
	Author, Message                   string
	Changes                           []string
	Created                           *int64
	Squash                            bool
	Platform                          string
	Annotations                       map[string]string
	OneFileSystem                     bool `json:"one_file_system"`
	OnlyIfChanged                     bool `json:"only_if_changed"`
	Threads                           int
	OwnerFrom                         string `json:"owner_from"`
	DryRun                            bool   `json:"dry_run"`
	Discard                           bool
	UnusedNames                       bool `json:"unused_names"`
	LostTrees                         bool `json:"lost_trees"`
}

// parityStep is one line of the table. What the table has and this has not is an error, so that nothing goes untested.
type parityStep struct {
	Op, Store, Dir, File, Reference, Platform, Base, Before, After, Path, Name, Format, Names, To string

	References []string
	Lowers     []string
	Entries    []parityEntry
	Options    parityOptions
	Expect     outcome

	scratch string
}

func escapePath(path string) string {
	var out strings.Builder
	for _, b := range []byte(path) {
		if b > 0x20 && b < 0x7f {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "\\x%02x", b)
		}
	}
	return out.String()
}

func unescapePath(t *testing.T, text string) string {
	parts := strings.Split(text, `\x`)
	out := parts[0]
	for _, part := range parts[1:] {
		b := must[[]byte](t)(hex.DecodeString(part[:2]))
		out += string(b) + part[2:]
	}
	return out
}

func (s *parityStep) place(name string) string { return filepath.Join(s.scratch, name) }

func seconds(at *int64) time.Time {
	if at == nil {
		return time.Time{}
	}
	return time.Unix(*at, 0)
}

func (s *parityStep) make(t *testing.T) {
	tree := s.place(s.Dir)
	if err := os.Mkdir(tree, 0o755); err == nil {
		try(t, os.Chmod(tree, 0o755))
	} else if !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	for _, entry := range s.Entries {
		path := filepath.Join(tree, unescapePath(t, entry.Path))
		if _, err := os.Lstat(path); err == nil && entry.Type != "directory" && entry.Type != "xattr" {
			try(t, os.Remove(path))
		}
		target := unescapePath(t, entry.Target)
		switch entry.Type {
		case "directory":
			try(t, os.Mkdir(path, 0o755))
		case "file":
			try(t, os.WriteFile(path, []byte(entry.Content), 0o644))
		case "symlink":
			try(t, os.Symlink(target, path))
		case "xattr":
			try(t, syscall.Setxattr(path, entry.Name, []byte(unescapePath(t, entry.Content)), 0))
		case "hardlink":
			try(t, os.Link(filepath.Join(tree, target), path))
		default:
			t.Fatal(entry)
		}
		if entry.Mode != "" {
			mode := must[uint64](t)(strconv.ParseUint(entry.Mode, 8, 12))
			try(t, os.Chmod(path, Entry{Kind: File, Mode: uint32(mode)}.FileMode()))
		}
	}
	date(t, tree)
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// date gives the whole tree, symbolic links included, the time of the table.
func date(t *testing.T, tree string) {
	command := exec.Command("find", tree, "-exec", "touch", "-h", "-d", fmt.Sprintf("@%d", when.Unix()), "{}", "+")
	try(t, command.Run())
}

func (s *parityStep) lowers() []string {
	var out []string
	for _, name := range s.Lowers {
		out = append(out, s.place(name))
	}
	return out
}

func (s *parityStep) commitOptions() *CommitOptions {
	o := s.Options
	return &CommitOptions{Base: o.Base, Compare: o.Compare, Owner: o.Owner, OwnerFrom: o.OwnerFrom, Lowers: s.lowers(), Compression: o.Compression, Level: o.Level,
		Nanoseconds: o.Nanoseconds, ClampMtime: seconds(o.ClampMtime), Author: o.Author, Message: o.Message,
		Changes: o.Changes, Created: seconds(o.Created), Squash: o.Squash, Platform: o.Platform,
		Annotations: o.Annotations, OneFileSystem: o.OneFileSystem, Threads: o.Threads, OnlyIfChanged: o.OnlyIfChanged}
}

func (s *parityStep) commit(ctx context.Context, store *Store) (outcome, error) {
	made, err := store.Commit(ctx, s.place(s.Dir), s.Reference, s.commitOptions())
	if err != nil {
		return nil, err
	}
	return outcome{"manifest": made.Manifest, "image_id": made.ImageID, "layer_diff_id": made.LayerDiffID,
		"layer_digest": made.LayerDigest, "added": made.Added, "changed": made.Changed, "deleted": made.Deleted}, nil
}

func parityChanges(diff *Diff, err error) (outcome, error) {
	if err != nil {
		return nil, err
	}
	defer diff.Close()
	list := []string{}
	for change, err := range diff.Changes() {
		if err != nil {
			return nil, err
		}
		list = append(list, change.Kind.String()+" "+escapePath(change.Path))
	}
	return outcome{"changes": list}, nil
}

func parityEntries(snapshot *Snapshot, err error) (outcome, error) {
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	list := []string{}
	for e, err := range snapshot.Entries() {
		if err != nil {
			return nil, err
		}
		list = append(list, parityEntryLine(e))
	}
	return outcome{"entries": list}, nil
}

var parityKinds = map[FileKind]string{File: "file", Directory: "directory", Symlink: "symlink", Hardlink: "hardlink"}

func parityEntryLine(e Entry) string {
	return fmt.Sprintf("%s %04o %d %s", parityKinds[e.Kind], e.Mode, e.Size, parityPath(e.Path, e.Target))
}

func parityPath(path, target string) string {
	out := escapePath(path)
	if out == "" {
		out = "."
	}
	if target != "" {
		out += " -> " + escapePath(target)
	}
	return out
}

// to has an operation write the step's file, and gives its digest.
func (s *parityStep) to(f func(io.Writer) error) (outcome, error) {
	file, err := os.Create(s.place(s.File))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	hash := sha256.New()
	if err := f(io.MultiWriter(file, hash)); err != nil {
		return nil, err
	}
	return outcome{"sha256": hex.EncodeToString(hash.Sum(nil))}, file.Close()
}

func orDash(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

// run does what needs no store, and hands the rest to run in a store.
func (s *parityStep) run(t *testing.T) (outcome, error) {
	ctx := background
	switch s.Op {
	case "make":
		s.make(t)
		return outcome{}, nil
	case "delete":
		path := filepath.Join(s.place(s.Dir), unescapePath(t, s.Path))
		must[fs.FileInfo](t)(os.Lstat(path))
		try(t, os.RemoveAll(path))
		date(t, s.place(s.Dir))
		return outcome{}, nil
	case "scan":
		return parityEntries(Scan(ctx, s.place(s.Dir), nil))
	case "diff_trees":
		return parityChanges(DiffTrees(ctx, s.place(s.Before), s.place(s.After), &DiffOptions{Compare: "content", Owner: "root"}))
	case "save_snapshot":
		snapshot, err := Scan(ctx, s.place(s.Dir), nil)
		if err != nil {
			return nil, err
		}
		defer snapshot.Close()
		return outcome{}, snapshot.Save(s.place(s.File))
	case "load_snapshot":
		return parityEntries(LoadSnapshot(s.place(s.File)))
	case "lookup":
		return s.lookup(t)
	case "diff_snapshots":
		var before *Snapshot
		var err error
		if s.Before != "" {
			if before, err = Scan(ctx, s.place(s.Before), nil); err != nil {
				return nil, err
			}
			defer before.Close()
		}
		after, err := Scan(ctx, s.place(s.After), nil)
		if err != nil {
			return nil, err
		}
		defer after.Close()
		return parityChanges(DiffSnapshots(before, after, "", nil))
	case "diff_overlay":
		return parityChanges(DiffOverlay(ctx, s.place(s.Dir), s.lowers(), nil))
	case "apply_layer", "list_layer":
		return s.layer(t)
	case "write_layer":
		snapshot, err := Scan(ctx, s.place(s.Dir), nil)
		if err != nil {
			return nil, err
		}
		defer snapshot.Close()
		diff, err := DiffSnapshots(nil, snapshot, s.place(s.Dir), nil)
		if err != nil {
			return nil, err
		}
		defer diff.Close()
		out := io.Discard
		if s.File != "" {
			file := must[*os.File](t)(os.Create(s.place(s.File)))
			defer file.Close()
			out = file
		}
		o := s.Options
		made, err := WriteLayer(ctx, diff, out, &LayerOptions{Compression: o.Compression, Level: o.Level,
			Nanoseconds: o.Nanoseconds, ClampMtime: seconds(o.ClampMtime), Threads: o.Threads})
		if err != nil {
			return nil, err
		}
		return outcome{"diff_id": made.DiffID, "digest": made.Digest, "diff_size": made.DiffSize, "size": made.Size,
			"entries": made.Entries}, nil
	}
	if s.Store == "" {
		s.Store = "store"
	}
	store, err := Open(s.place(s.Store))
	if err != nil {
		return nil, err
	}
	defer store.Close()
	return s.runIn(t, ctx, store)
}

func (s *parityStep) lookup(t *testing.T) (outcome, error) {
	snapshot, err := Scan(background, s.place(s.Dir), &ScanOptions{OwnerFrom: s.Options.OwnerFrom})
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	entry, err := snapshot.Lookup(unescapePath(t, s.Path))
	if err != nil {
		return nil, err
	}
	xattrs, err := snapshot.Xattrs(entry)
	list := []string{}
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		list = append(list, escapePath(name)+" "+escapePath(xattrs[name]))
	}
	return outcome{"entry": parityEntryLine(entry), "owner": fmt.Sprintf("%d:%d", entry.UID, entry.GID), "xattrs": list}, err
}

func (s *parityStep) layer(t *testing.T) (outcome, error) {
	file := must[*os.File](t)(os.Open(s.place(s.File)))
	defer file.Close()
	if s.Op == "apply_layer" {
		try(t, os.Mkdir(s.place(s.Dir), 0o755))
		made, err := ApplyLayer(background, file, s.place(s.Dir), nil)
		if err != nil {
			return nil, err
		}
		return outcome{"diff_id": made.DiffID, "losses": len(made.Notes)}, nil
	}
	entries, err := ListLayer(background, file, nil)
	list := []string{}
	for _, e := range entries {
		list = append(list, fmt.Sprintf("%s %04o %d:%d %d %d %s", parityKinds[e.Kind], e.Mode, e.UID, e.GID, e.Size,
			len(e.Xattrs), parityPath(e.Path, e.Link)))
	}
	return outcome{"entries": list}, err
}

// inPlace is about trees that become others, and files of images.
func (s *parityStep) inPlace(t *testing.T, ctx context.Context, store *Store) (outcome, error) {
	switch s.Op {
	case "clone":
		made, err := store.Clone(ctx, s.place(s.Dir), s.place(s.To), nil)
		if err != nil {
			return nil, err
		}
		return outcome{"manifest": made.Manifest, "entries": made.Entries}, nil
	case "checkout":
		made, err := store.Checkout(ctx, s.Reference, s.place(s.Dir), &CheckoutOptions{Discard: s.Options.Discard, DryRun: s.Options.DryRun})
		if err != nil {
			return nil, err
		}
		changes := []string{}
		for _, change := range made.Changes {
			changes = append(changes, change.Kind.String()+" "+parityPath(change.Path, ""))
		}
		return outcome{"manifest": made.Manifest, "removed": made.Removed, "changes": changes}, nil
	}
	image, err := store.Image(s.Reference)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	name := unescapePath(t, s.Path)
	if name == "" {
		name = "."
	}
	if s.Op == "read_file" {
		content, err := image.FS().ReadFile(name)
		sum := sha256.Sum256(content)
		return outcome{"sha256": hex.EncodeToString(sum[:])}, err
	}
	list, err := image.FS().ReadDir(name)
	lines := []string{}
	for _, one := range list {
		lines = append(lines, parityEntryLine(must[fs.FileInfo](t)(one.Info()).Sys().(Entry)))
	}
	return outcome{"entries": lines}, err
}

// facts are the facts of a store and its images.
func (s *parityStep) facts(t *testing.T, ctx context.Context, store *Store) (outcome, error) {
	switch s.Op {
	case "documents", "history":
		image, err := store.ImageFor(s.Reference, s.Platform)
		if err != nil {
			return nil, err
		}
		defer image.Close()
		if s.Op == "documents" {
			manifest, config := sha256.Sum256(image.Manifest()), sha256.Sum256(image.Config())
			return outcome{"id": image.ID(), "digest": image.Digest(), "platform": image.Platform(), "size": image.Size(),
				"manifest": hex.EncodeToString(manifest[:]), "config": hex.EncodeToString(config[:])}, nil
		}
		rows, err := image.History()
		list := []string{}
		for _, row := range rows {
			tar := "-"
			if row.DiffSize != nil {
				tar = fmt.Sprint(*row.DiffSize)
			}
			list = append(list, fmt.Sprintf("%s %s %d %s %s %s|%s", orDash(row.ID), orDash(row.Created), row.Size, tar,
				orDash(row.DiffID), row.CreatedBy, row.Comment))
		}
		return outcome{"rows": list}, err
	case "prune":
		o := s.Options
		done, err := store.Prune(ctx, &PruneOptions{DryRun: o.DryRun, UnusedNames: o.UnusedNames, LostTrees: o.LostTrees})
		if err != nil {
			return nil, err
		}
		return outcome{"images": done.Images, "blobs": done.Blobs, "layers": len(done.Layers), "untagged": done.Untagged,
			"forgotten": len(done.Forgotten)}, nil
	case "usage":
		used, err := store.Usage(ctx)
		if err != nil {
			return nil, err
		}
		list := []string{}
		for _, i := range used.Images {
			list = append(list, fmt.Sprintf("%s %s %d %d %d %d", strings.Join(i.Names, ","), i.Digest, i.Size, i.Shared, i.Unique, i.Layers))
		}
		return outcome{"images": list, "blobs": used.Blobs, "blob_bytes": used.BlobBytes, "reclaimable": used.Reclaimable,
			"trees": used.Trees}, nil
	case "info":
		machine, err := store.Info()
		if err != nil {
			return nil, err
		}
		return outcome{"images": machine.Store.Images, "trees": machine.Store.Trees}, nil
	case "failing_export":
		return outcome{}, store.Export(ctx, s.Reference, broken{}, nil)
	case "failing_load":
		_, err := store.Load(ctx, broken{}, nil)
		return outcome{}, err
	}
	t.Fatalf("unknown op %q", s.Op)
	return nil, nil
}

func (s *parityStep) runIn(t *testing.T, ctx context.Context, store *Store) (outcome, error) {
	switch s.Op {
	case "clone", "checkout", "list_files", "read_file":
		return s.inPlace(t, ctx, store)
	case "commit":
		return s.commit(ctx, store)
	case "cancelled_commit":
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return s.commit(ctx, store)
	case "unpack":
		made, err := store.Unpack(ctx, s.Reference, s.place(s.Dir), &ApplyOptions{Platform: s.Platform})
		if err != nil {
			return nil, err
		}
		return outcome{"manifest": made.Manifest, "entries": made.Entries, "losses": len(made.Notes)}, nil
	case "diff_tree":
		return parityChanges(store.DiffTree(ctx, s.place(s.Dir), s.Base, nil))
	case "diff_images":
		return parityChanges(store.DiffImages(ctx, s.Before, s.After, nil))
	case "layers":
		image, err := store.Image(s.Reference)
		if err != nil {
			return nil, err
		}
		defer image.Close()
		list := []string{}
		for _, layer := range image.Layers() {
			list = append(list, fmt.Sprintf("%s %s %d", layer.DiffID, layer.Digest, layer.Size))
		}
		return outcome{"layers": list}, nil
	case "inspect":
		image, err := store.ImageFor(s.Reference, "linux/arm64")
		if err != nil {
			return nil, err
		}
		defer image.Close()
		found, err := image.Inspect()
		if err != nil {
			return nil, err
		}
		return outcome{"Id": found.ID, "Author": found.Author, "Architecture": found.Architecture, "Os": found.OS}, nil
	case "refs":
		refs, err := store.Refs()
		list := []string{}
		for _, ref := range refs {
			list = append(list, orDash(ref.Name)+" "+ref.Digest)
		}
		return outcome{"refs": list}, err
	case "resolve":
		digest, _, err := store.Resolve(s.Reference)
		return outcome{"digest": digest}, err
	case "tag":
		return outcome{}, store.Tag(s.Reference, s.Name)
	case "untag":
		return outcome{}, store.Untag(s.Name)
	case "remove":
		return outcome{}, store.Remove(s.Reference)
	case "fsck":
		found, err := store.Fsck(ctx, FsckBytes)
		if err != nil {
			return nil, err
		}
		return outcome{"problems": len(found.Problems)}, nil
	case "save":
		return s.to(func(w io.Writer) error { return store.Save(ctx, w, Format(s.Format), s.References...) })
	case "export":
		return s.to(func(w io.Writer) error {
			if s.Reference != "" {
				return store.Export(ctx, s.Reference, w, nil)
			}
			return store.ExportTree(ctx, s.place(s.Dir), w, nil)
		})
	case "load", "import":
		file, err := os.Open(s.place(s.File))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if s.Op == "load" {
			loaded, err := store.Load(ctx, file, &LoadOptions{Names: Names(s.Names)})
			list := []string{}
			for _, one := range loaded {
				list = append(list, orDash(one.Name)+" "+one.ImageID)
			}
			return outcome{"loaded": list}, err
		}
		o := s.Options
		made, err := store.Import(ctx, file, s.Reference, &ImportOptions{Changes: o.Changes, Message: o.Message,
			Author: o.Author, Platform: o.Platform, Created: seconds(o.Created), Compression: o.Compression, Level: o.Level})
		if err != nil {
			return nil, err
		}
		return outcome{"manifest": made.Manifest, "image_id": made.ImageID, "layer_diff_id": made.LayerDiffID,
			"layer_digest": made.LayerDigest}, nil
	}
	return s.facts(t, ctx, store)
}

func TestParity(t *testing.T) {
	file := must[*os.File](t)(os.Open(parityTable))
	defer file.Close()
	var table struct {
		Format int
		Cases  []struct {
			Name  string
			Steps []parityStep
		}
	}
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	try(t, decoder.Decode(&table))
	if table.Format != 1 || len(table.Cases) == 0 {
		t.Fatal(table.Format, len(table.Cases))
	}
	for _, one := range table.Cases {
		t.Run(one.Name, func(t *testing.T) {
			scratch := t.TempDir()
			for number, step := range one.Steps {
				step.scratch = scratch
				got, err := step.run(t)
				if err != nil {
					var failure *Error
					if !errors.As(err, &failure) {
						t.Fatalf("step %d (%s): %v", number, step.Op, err)
					}
					got = outcome{"error": failure.Kind}
				}
				// By way of JSON, so that numbers and lists are of the same types as in the table.
				var plain outcome
				try(t, json.Unmarshal(must[[]byte](t)(json.Marshal(got)), &plain))
				if plain["error"] != nil && step.Expect["error"] == nil {
					t.Errorf("step %d (%s): %v", number, step.Op, err)
				}
				for name, value := range step.Expect {
					if !reflect.DeepEqual(plain[name], value) {
						t.Errorf("step %d (%s): %s: %v != %v", number, step.Op, name, value, plain)
					}
				}
			}
		})
	}
}
