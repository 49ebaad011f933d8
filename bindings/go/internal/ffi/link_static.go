//go:build treering_static

package ffi

// The prefix pkg-config finds must hold only libtreering.a: next to a libtreering.so the linker takes that one.

// #cgo pkg-config: --static treering
import "C"
