//go:build treering_static

package ffi

// A file of its own names libtreering.a, so that a libtreering.so beside it is not taken.

// #cgo pkg-config: treering-static
import "C"
