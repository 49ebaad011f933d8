/* clang-format off */
/* Hooks for the tests of treering and of its bindings. Not installed, and may change any day. */

#ifndef TREERING_TEST_H
#define TREERING_TEST_H

/* Generated from src/capi by cbindgen: `TREERING_WRITE_HEADER=1 cargo test --all-features --test header`. */

#include <treering.h>

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Panics inside, as a defect would, and returns what every call then returns: TREERING_INTERNAL and an
 * error. It changes nothing.
 */
treering_status treering_test_panic(treering_error **err);

/**
 * Returns the number of handles of all types that are live in this process. Any thread.
 */
size_t treering_test_live_handles(void);

/**
 * Has an operation with this control panic inside, on whatever thread of the library it happens, the
 * `look`-th time that one of them looks whether it was cancelled, counted from 1. Once; 0 for never. What becomes of it is
 * TREERING_INTERNAL, as of every defect.
 */
treering_status treering_test_panic_at(const treering_control *control,
                                       uint64_t look,
                                       treering_error **err);

/**
 * Fails as a command in a Dockerfile does: TREERING_COMMAND_FAILED with the exit code 7 at line 3, column 5 of `Dockerfile`.
 */
treering_status treering_test_error(treering_error **err);

/**
 * Runs an operation that sends one event of each kind, first to last, and does nothing else.
 */
treering_status treering_test_events(const treering_control *control, treering_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TREERING_TEST_H */
