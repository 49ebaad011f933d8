//go:build !treering_gc

package ffi

func collect() {}
