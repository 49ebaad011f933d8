//go:build !treering_gc && cgo && linux

package ffi

func collect() {}
