//go:build !cgo || !linux

package ffi

// The package is for Linux, and calls the library through cgo: CGO_ENABLED=1, and a C compiler.
var _ = treering_needs_linux_and_cgo
