package treering

import "strconv"

// Descriptor is the path of a directory that is open in this process, such as [os.File.Fd] names it: for a call that takes a
// directory, which then works on the open one whatever its name leads to meanwhile. The descriptor has to stay open during the
// call.
func Descriptor(fd uintptr) string {
	return "/proc/self/fd/" + strconv.FormatUint(uint64(fd), 10)
}
