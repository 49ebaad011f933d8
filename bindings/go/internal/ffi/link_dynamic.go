//go:build !treering_static

package ffi

// #cgo pkg-config: treering
import "C"
