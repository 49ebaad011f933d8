package treering

import (
	"context"

	"github.com/treering/treering/bindings/go/internal/ffi"
)

// Report is what an image consists of. Paths are text, with \xNN for bytes that are not UTF-8; sizes are bytes, before compression
// where nothing else is said.
type Report struct {
	// Name the image was opened by, if it was one.
	Name     string `json:"name"`
	Digest   string `json:"digest"`
	ImageID  string `json:"image_id"`
	Platform string `json:"platform"`
	// Created is when, RFC 3339, as the image says; empty when it does not.
	Created string `json:"created"`
	// Size of the layers as stored.
	Size uint64 `json:"size"`
	// Stored is what the files of all layers have: those of the image, Visible, and those that a later layer overwrites or deletes,
	// Wasted.
	Stored  uint64 `json:"stored"`
	Visible uint64 `json:"visible"`
	Wasted  uint64 `json:"wasted"`
	// Steps, oldest first.
	Steps []ReportStep `json:"steps"`
	// Files are the largest of the image, WastedFiles of those that are wasted.
	Files       []ReportFile `json:"files"`
	WastedFiles []WastedFile `json:"wasted_files"`
	// Packages that are installed, the largest first, where dpkg, apk or rpm list them.
	Packages []ReportPackage `json:"packages"`
	// Advice is what could be done about it, the most worth first.
	Advice []ReportAdvice `json:"advice"`
}

// ReportStep is a step of an image's history.
type ReportStep struct {
	CreatedBy string `json:"created_by"`
	Created   string `json:"created"`
	Comment   string `json:"comment"`
	// Layer it made; nil for a step that changed only the configuration.
	Layer *ReportLayer `json:"layer"`
}

// ReportLayer is what a layer did.
type ReportLayer struct {
	Digest string `json:"digest"`
	DiffID string `json:"diff_id"`
	// Size of the blob.
	Size uint64 `json:"size"`
	// Added files were not there, Changed ones were written over others, Deleted ones of layers below are gone, and Wasted ones of
	// this layer are overwritten or deleted by later ones.
	Added   ReportCount `json:"added"`
	Changed ReportCount `json:"changed"`
	Deleted ReportCount `json:"deleted"`
	Wasted  ReportCount `json:"wasted"`
	// Tree has its files by directories; small ones are put together.
	Tree ReportNode `json:"tree"`
}

// ReportCount is how many files there are, and how many bytes they have. What is no directory counts as a file.
type ReportCount struct {
	Files uint64 `json:"files"`
	Bytes uint64 `json:"bytes"`
}

// ReportNode is a directory of a layer, or a file in it. Its Name is empty for the root and for small ones put together.
type ReportNode struct {
	Name     string       `json:"name"`
	Bytes    uint64       `json:"bytes"`
	Wasted   uint64       `json:"wasted"`
	Files    uint64       `json:"files"`
	Children []ReportNode `json:"children"`
}

// ReportFile is a file of the image, and the step of the layer that holds it, counted from 0.
type ReportFile struct {
	Path  string `json:"path"`
	Bytes uint64 `json:"bytes"`
	Step  int    `json:"step"`
}

// WastedFile is a file that the step By overwrites or deletes.
type WastedFile struct {
	Path    string `json:"path"`
	Bytes   uint64 `json:"bytes"`
	Step    int    `json:"step"`
	By      int    `json:"by"`
	Deleted bool   `json:"deleted"`
}

// ReportPackage is an installed package of dpkg, apk or rpm, with the size that its database says.
type ReportPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Bytes   uint64 `json:"bytes"`
	Manager string `json:"manager"`
}

// ReportAdvice is what could be done: a word for programs, a sentence for people, the bytes it would save and the steps it is about.
type ReportAdvice struct {
	Kind  string `json:"kind"`
	Text  string `json:"text"`
	Bytes uint64 `json:"bytes"`
	Steps []int  `json:"steps"`
}

// Report says what the image consists of: what each step added, changed and wasted, the largest files and packages, and what could be
// smaller. It reads every layer once and unpacks nothing.
func (i *Image) Report(ctx context.Context) (*Report, error) {
	return decode[Report](ffi.ImageReport(ctx, i.h(), false))
}

// ReportHTML is [Image.Report] as a page that needs nothing else: no network, no other file.
func (i *Image) ReportHTML(ctx context.Context) (string, error) {
	page, err := ffi.ImageReport(ctx, i.h(), true)
	return string(page), wrap(err)
}
