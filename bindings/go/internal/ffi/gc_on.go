//go:build treering_gc && cgo && linux

package ffi

import "runtime"

// collect forces what may happen at any time anyway, so that whatever is not kept alive over a call is found out.
func collect() { runtime.GC() }
