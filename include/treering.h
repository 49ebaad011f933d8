/*
 * treering: grow OCI images from a directory, with no root and no daemon.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

/**
 * @file treering.h
 *
 * The rules, which hold for every function:
 *
 * Status and error. A function that can fail returns a status: TREERING_OK, which is 0, or why not. Its last parameter `err`
 * receives an error object on failure, to be freed with treering_error_free(); it may be NULL, and is left alone on success.
 * Nothing is kept per thread. Outputs are written only on success.
 *
 * Handles. All struct types that are only declared here are handles: opaque, made by a function that writes them through an
 * out-pointer, owned by the caller, freed with the one `_free` function of their type, which accepts NULL. A handle of
 * another type, one that was freed, and any other pointer that is no handle are refused with TREERING_INVALID_ARGUMENT:
 * handles are looked up, not followed. (An address may stand for a new handle of the same type once many others were freed
 * after it, so this finds mistakes; it does not make them safe.) Freeing a handle while another thread is in a call with it
 * is fine: the call goes on, the handle is gone. Pointers that an accessor gave end with the handle.
 *
 * Out-pointers are owned, accessors borrow: what is written through a `treering_x **` is yours to free; what is returned as
 * `const` belongs to the object it came from and lives as long as the handle, unless said otherwise.
 *
 * Threads. There are no global locks for callers to take care of and no thread affinity; every handle may be used from any
 * thread. Which types serve several threads at once is said at each; those that do not return TREERING_BUSY when it happens.
 *
 * Text (names of images, platforms, words, messages) is NUL-terminated `const char *` and must be UTF-8, else
 * TREERING_INVALID_ARGUMENT. Paths and everything else that is bytes are a pointer and a length: they need not be UTF-8 and
 * need no NUL behind them. TREERING_PATH() makes the two out of a C string. Choices are words, the same as the command's.
 *
 * Structures travel with their size: pass sizeof, and a library with a longer or shorter structure of the same name fills
 * what both have and zeroes the rest. Sizes are in bytes, times in seconds since 1970.
 *
 * Options are structures as well, and zero is the default of every member: `treering_commit_options options = {0};`, then set
 * what is wanted, and pass a pointer to it and sizeof. NULL stands for the defaults. A library with a longer structure takes
 * the rest for zero; one with a shorter structure refuses a member it does not have with TREERING_UNSUPPORTED, unless it is
 * zero. What the members point to is yours and has to live for the call only. A number for which 0 means something (a time) is a
 * pointer. Never leave a structure of options uninitialised.
 *
 * Parameters are these, and have a `@param` only where there is more to say:
 *   - the object a function is about (`store`, `image`, `diff`, `snapshot` and so on): a handle of that
 *     type; NULL is refused like any other pointer that is no handle, except by `_free`;
 *   - `options`: a structure, or NULL for the defaults; with it `options_size`: sizeof the structure, of no matter with NULL;
 *   - `control`: such a handle, or NULL for none;
 *   - `out`: receives the result. NULL is refused. With it `out_size` (or `entry_size` and so on): sizeof the structure;
 *   - `out` with `max`: an array with room for `max` elements; `n` receives how many were written, and NULL is refused;
 *     `first` is the number of the first one wanted, from 0, and behind the last there are none, which is no error;
 *   - `report`, `json`: receive an object that is yours; NULL when it is not wanted;
 *   - `err`: receives the error; NULL when it is not wanted;
 *   - a path and its `_len`: NULL or a length of 0 is refused, a NUL byte too;
 *   - a text: NULL is refused; a number, a bool: any;
 *   - `fd`: a descriptor that is open for what is done, and blocking.
 * A function that gives its value back instead of a status gives 0, NULL or an empty digest for a handle that is none.
 *
 * Errors that any function can give, whatever else it lists: TREERING_INVALID_ARGUMENT for what is refused above;
 * TREERING_NOT_FOUND, TREERING_PERMISSION_DENIED, TREERING_ALREADY_EXISTS, TREERING_LIMIT, TREERING_UNSUPPORTED and TREERING_IO for
 * what the system says where it touches files; TREERING_CORRUPT and TREERING_BUSY where it uses a store; TREERING_CANCELLED where it
 * takes a control; TREERING_CALLBACK where it takes a callback; TREERING_INTERNAL.
 *
 * A defect is TREERING_INTERNAL, and a line on stderr. The library never calls abort() on purpose, installs no signal
 * handlers, and does not change the process: no umask, no working directory, no environment. The library starts threads, and all
 * have ended when a call returns, but for those of a treering_process, which end with its command. Running out of memory aborts.
 * Pointers must be NULL or point to what is said: that cannot be checked.
 *
 * Processes and sockets. A function starts a child process or opens a socket only where its description says so. The child is always
 * the helper, treering-init, and a pair of sockets connects it. There is one exception, for the functions that take a directory and a store:
 * where a command by the rung `ids` was killed in the directory, its files still belong to subordinate ids. The next such function
 * starts the helper, which gives them back to the user, and waits for its end.
 *
 * A child after fork() without exec leaves the handles of its parent alone, freeing them included, and makes its own. That works
 * where no other thread of the parent was in a call when it forked.
 *
 * The smallest program:
 *
 *     treering_store *store;
 *     treering_error *err = NULL;
 *     treering_commit_result made;
 *     if (treering_store_open_default(&store, &err) != TREERING_OK
 *         || treering_commit(store, TREERING_PATH("rootfs"), "app:v1", NULL, 0, NULL, &made, sizeof made, NULL, &err)) {
 *       fprintf(stderr, "%s\n", treering_error_text(err));
 *       return 1;
 *     }
 *     puts(made.image_id.text);
 */


#ifndef TREERING_H
#define TREERING_H

/* Generated from src/capi by cbindgen: `TREERING_WRITE_HEADER=1 cargo test --all-features --test header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

/** A C string as the two arguments of a path: a pointer and a length. Evaluates its argument twice, and is no single argument of a macro. */
#define TREERING_PATH(string) ((const uint8_t *)(string)), strlen(string)

#if defined(__cplusplus) && (defined(__cpp_exceptions) || defined(__EXCEPTIONS))
/** What TREERING_CATCH() is made of. */
namespace treering {
template <typename Function, Function function> struct Catch;
template <typename... Arguments, int32_t (*function)(Arguments...)> struct Catch<int32_t (*)(Arguments...), function> {
  static int32_t call(Arguments... arguments) noexcept {
    try {
      return function(arguments...);
    } catch (...) {
      return -1;
    }
  }
};
template <typename... Arguments, void (*function)(Arguments...)> struct Catch<void (*)(Arguments...), function> {
  static void call(Arguments... arguments) noexcept {
    try {
      function(arguments...);
    } catch (...) {
    }
  }
};
} // namespace treering

/**
 * In C++, a callback out of a function that may throw: an exception that leaves it is caught and lost, and stands for -1, so
 * that the operation fails with TREERING_CALLBACK (or is cancelled, where the function receives progress). The function has a
 * name, and the type of the callback. Without this an exception that leaves a callback ends the process.
 */
#define TREERING_CATCH(function) (&treering::Catch<decltype(&function), &function>::call)
#endif


/**
 * The number of the binary interface this header describes. It grows with every change that breaks programs compiled
 * before; before 1.0 that may happen with every minor version of the library.
 */
#define TREERING_ABI_VERSION 2

/**
 * It is another kind of file.
 */
#define TREERING_REASON_TYPE 1

/**
 * The content is different.
 */
#define TREERING_REASON_CONTENT 2

/**
 * The permission bits are different.
 */
#define TREERING_REASON_MODE 4

/**
 * The owner or the group is different.
 */
#define TREERING_REASON_OWNER 8

/**
 * The time of the last change of content is different.
 */
#define TREERING_REASON_MTIME 16

/**
 * The extended attributes (ACLs and capabilities among them) are different.
 */
#define TREERING_REASON_XATTRS 32

/**
 * The symbolic link leads elsewhere.
 */
#define TREERING_REASON_TARGET 64

/**
 * The device has other numbers.
 */
#define TREERING_REASON_DEVICE 128

/**
 * The file is hard-linked with other files than before.
 */
#define TREERING_REASON_LINKS 256

/**
 * Nothing but an entry in the directory was added or deleted.
 */
#define TREERING_REASON_PARENT 512

/**
 * The inode was touched and the content could not be compared, so it is taken for changed.
 */
#define TREERING_REASON_SUSPECT 1024

/**
 * Stands for "no entry" where an entry's number is expected.
 */
#define TREERING_NO_ENTRY UINT32_MAX

/**
 * The outcome of a call. The numbers are stable and never used again for something else; a program should take unknown
 * numbers for TREERING_INTERNAL.
 */
enum treering_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It was done.
   */
  TREERING_OK = 0,
  /**
   * An argument, option, name or reference is not usable as given; also a NULL, wrong or freed handle.
   */
  TREERING_INVALID_ARGUMENT = 1,
  /**
   * The named file, image, reference or blob does not exist.
   */
  TREERING_NOT_FOUND = 2,
  /**
   * Something by that name is already there.
   */
  TREERING_ALREADY_EXISTS = 3,
  /**
   * The system refused: permissions, ownership, or a security policy.
   */
  TREERING_PERMISSION_DENIED = 4,
  /**
   * An input or output operation failed for another reason.
   */
  TREERING_IO = 5,
  /**
   * No space or quota is left.
   */
  TREERING_NO_SPACE = 6,
  /**
   * A file changed, grew, shrank or vanished while it was being read.
   */
  TREERING_CHANGED = 7,
  /**
   * Data does not match its digest, its size, or its format.
   */
  TREERING_CORRUPT = 8,
  /**
   * An input asked for more than a configured cap allows.
   */
  TREERING_LIMIT = 9,
  /**
   * This machine, filesystem or format cannot do what was asked.
   */
  TREERING_UNSUPPORTED = 10,
  /**
   * Another process holds the lock, or another thread is using an object that serves one thread at a time.
   */
  TREERING_BUSY = 11,
  /**
   * The object is still needed by another one.
   */
  TREERING_IN_USE = 12,
  /**
   * The caller cancelled the operation.
   */
  TREERING_CANCELLED = 13,
  /**
   * A callback supplied by the caller failed; treering_error_callback_code() says with which number.
   */
  TREERING_CALLBACK = 14,
  /**
   * A defect in treering itself (a panic was caught at the boundary).
   */
  TREERING_INTERNAL = 15,
  /**
   * An attribute cannot be kept and the caller demanded that nothing be lost.
   */
  TREERING_LOSS = 16,
  /**
   * A command that was run failed.
   */
  TREERING_COMMAND_FAILED = 17,
  /**
   * A server could not be reached, or the connection to it broke.
   */
  TREERING_NETWORK = 18,
  /**
   * A registry refused the credentials, or asks for some.
   */
  TREERING_UNAUTHORIZED = 19,
  /**
   * A Dockerfile or another text is not well formed.
   */
  TREERING_SYNTAX = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_status treering_status;
#else
typedef int32_t treering_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of an event. A program should pass over kinds it does not have.
 */
enum treering_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A step began: `text`, and where there are such, `stage`, `place` of `places`, and where its instruction stands.
   */
  TREERING_EVENT_STARTED = 1,
  /**
   * The result of a step came out of the cache; TREERING_EVENT_FINISHED follows.
   */
  TREERING_EVENT_CACHED = 2,
  /**
   * The command of a step wrote `output` to `stream`.
   */
  TREERING_EVENT_OUTPUT = 3,
  /**
   * `bytes` of the output of a step were dropped: they were not read in time, or there were too many.
   */
  TREERING_EVENT_OUTPUT_DROPPED = 4,
  /**
   * A step ended well, after `milliseconds`, with a layer of `bytes`, or 0 for none.
   */
  TREERING_EVENT_FINISHED = 5,
  /**
   * A blob is on its way from or to a registry: `digest`, `bytes` so far, `bytes_total`.
   */
  TREERING_EVENT_TRANSFER = 6,
  /**
   * A warning: nothing failed. `text`, and where there is one, the name of the `rule`, and the place.
   */
  TREERING_EVENT_WARNING = 7,
  /**
   * A step failed: `text`. The operation fails as well.
   */
  TREERING_EVENT_FAILED = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_event_kind treering_event_kind;
#else
typedef int32_t treering_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The subject of a note.
 */
enum treering_note_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * An attribute could be kept neither on disk nor in the ledger.
   */
  TREERING_NOTE_LOSS = 1,
  /**
   * An entry of the tree cannot be part of a layer and was left out.
   */
  TREERING_NOTE_SKIPPED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_note_kind treering_note_kind;
#else
typedef int32_t treering_note_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of an entry.
 */
enum treering_file_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A regular file.
   */
  TREERING_FILE = 1,
  /**
   * A directory.
   */
  TREERING_DIRECTORY = 2,
  /**
   * A symbolic link.
   */
  TREERING_SYMLINK = 3,
  /**
   * A character device.
   */
  TREERING_CHAR_DEVICE = 4,
  /**
   * A block device.
   */
  TREERING_BLOCK_DEVICE = 5,
  /**
   * A named pipe.
   */
  TREERING_FIFO = 6,
  /**
   * A socket.
   */
  TREERING_SOCKET = 7,
  /**
   * Another name for an earlier entry. Only in a treering_layer_list: in a tree, see treering_entry::leader.
   */
  TREERING_HARDLINK = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_file_kind treering_file_kind;
#else
typedef int32_t treering_file_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of a change.
 */
enum treering_change_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The path is new: `A`.
   */
  TREERING_CHANGE_ADDED = 1,
  /**
   * The path was changed: `C`.
   */
  TREERING_CHANGE_CHANGED = 2,
  /**
   * The path is gone, with all below it: `D`.
   */
  TREERING_CHANGE_DELETED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_change_kind treering_change_kind;
#else
typedef int32_t treering_change_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The status of a container.
 */
enum treering_container_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * No command was run in it.
   */
  TREERING_CONTAINER_CREATED = 1,
  /**
   * A command runs in it.
   */
  TREERING_CONTAINER_RUNNING = 2,
  /**
   * The command ended.
   */
  TREERING_CONTAINER_EXITED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum treering_container_status treering_container_status;
#else
typedef int32_t treering_container_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The answer of a treering_credentials_fn: given to it, and of no use after it has returned.
 */
typedef struct treering_answer treering_answer;

/**
 * Bytes made by the library, such as a JSON document; a NUL stands behind them. Owned by the caller, freed with
 * treering_bytes_free(). Never changes, so any number of threads may read it at once.
 */
typedef struct treering_bytes treering_bytes;

/**
 * A list of changed paths, in byte order. Owned by the caller, freed with treering_changes_free(). Never changes, so any number
 * of threads may read it at once.
 */
typedef struct treering_changes treering_changes;

/**
 * A container: a tree of a store with a name, settings and a state. Owned by the caller, freed with treering_container_free(), which leaves
 * the container where it is. Any number of threads may use it at once. It keeps its store open.
 */
typedef struct treering_container treering_container;

/**
 * Counters to poll and a way to cancel, for one or several operations. Every long operation takes one, or NULL. Any number
 * of threads may use it at once, while operations run and after. It may be freed while an operation that was given it still
 * runs; that one then can no longer be polled or cancelled.
 */
typedef struct treering_control treering_control;

/**
 * The changes from one tree to another. Owned by the caller, freed with treering_diff_free(). Any number of threads may use
 * it at once, except for treering_diff_next() and treering_diff_rewind(), which serve one thread at a time: a call while
 * another thread is in one is TREERING_BUSY.
 */
typedef struct treering_diff treering_diff;

/**
 * The reason why a call failed. Made by the call that failed, owned by the caller, freed with treering_error_free(). Never
 * changes, so any number of threads may read it at once. What the accessors return lives as long as the error.
 */
typedef struct treering_error treering_error;

/**
 * An event of an operation. Made by treering_control_next_event(), owned by the caller, freed with treering_event_free().
 * Never changes, so any number of threads may read it at once.
 */
typedef struct treering_event treering_event;

/**
 * The answer of a treering_git_fn: given to it, and of no use after it has returned.
 */
typedef struct treering_git_answer treering_git_answer;

/**
 * An image for one platform: manifest and configuration read and checked, layers named. Owned by the caller, freed with
 * treering_image_free(). Never changes, so any number of threads may use it at once. It keeps its store open.
 */
typedef struct treering_image treering_image;

/**
 * The entries of a layer, one after the other with their content; nothing is gathered. Owned by the caller, freed with
 * treering_layer_files_free(). One thread at a time: a call while another thread is in one is TREERING_BUSY.
 */
typedef struct treering_layer_files treering_layer_files;

/**
 * The entries of a layer, in its order. Owned by the caller, freed with treering_layer_list_free(). Never changes, so any
 * number of threads may read it at once.
 */
typedef struct treering_layer_list treering_layer_list;

/**
 * The images that an archive held, once for each of their names. Owned by the caller, freed with treering_loaded_free().
 * Never changes, so any number of threads may read it at once.
 */
typedef struct treering_loaded treering_loaded;

/**
 * A command that runs, or has ended. Owned by the caller, freed with treering_process_free(), which ends the command. Any number of
 * threads may use it at once. The calls that make one start one process, the helper; the command and what supervises it are that one's
 * children. The calling process gets no SIGCHLD handler, and no child that it would have to wait for.
 */
typedef struct treering_process treering_process;

/**
 * Bytes that the library gives from their start to their end: a file of an image, a layer. Owned by the caller, freed with
 * treering_reader_free(). One thread at a time: a call while another thread is in one is TREERING_BUSY. It keeps what it needs
 * of the store and the image alive.
 */
typedef struct treering_reader treering_reader;

/**
 * The images of a store at one moment, in the order of its index, those without a name included. Owned by the caller, freed
 * with treering_refs_free(). Never changes, so any number of threads may read it at once.
 */
typedef struct treering_refs treering_refs;

/**
 * The registries as a program reaches them: where they are, credentials, proxies, patience. Owned by the caller, freed with
 * treering_registries_free(). Never changes, so any number of threads may use it at once. Connections belong to single operations.
 */
typedef struct treering_registries treering_registries;

/**
 * A report of what an operation could not keep or left out: a list of notes. Owned by the caller, freed with treering_report_free().
 * Never changes, so any number of threads may read it at once.
 */
typedef struct treering_report treering_report;

/**
 * The sorted list of everything in a tree at one moment. Owned by the caller, freed with treering_snapshot_free(). Never
 * changes, so any number of threads may use it at once.
 *
 * Entries are numbered; number 0 is the root directory.
 */
typedef struct treering_snapshot treering_snapshot;

/**
 * An open store: an OCI image layout and what treering keeps beside it. Any number of threads may use it at once, and any
 * number of processes may have the same store open. Images, snapshots and diffs made from it do not need it to stay open.
 */
typedef struct treering_store treering_store;

/**
 * Iterates over the entries of a snapshot in byte order of their paths, the root first, or over those of a directory of an
 * image. One thread at a time: a call while
 * another thread is in one is TREERING_BUSY. It keeps what it needs of the snapshot alive.
 */
typedef struct treering_walk treering_walk;

/**
 * A place in a text, such as a line of a Dockerfile. The pointers live as long as the error it is of.
 */
typedef struct {
  /**
   * Name of the file, as it was given.
   */
  const uint8_t *file;
  /**
   * The bytes in `file`.
   */
  size_t file_len;
  /**
   * The line, counted from 1.
   */
  uint32_t line;
  /**
   * The column, counted from 1 in bytes; 0 for the whole line.
   */
  uint32_t column;
  /**
   * The text of the line, without its end.
   */
  const char *text;
} treering_location;

/**
 * The progress of an operation so far.
 */
typedef struct {
  /**
   * The number of entries of trees and tars, files of archives, and blobs that were handled.
   */
  uint64_t entries;
  /**
   * Bytes of input that were read, as they are where they are read: files with their size, blobs and archives compressed
   * as they are, a layer that is made with the size of its tar.
   */
  uint64_t bytes_read;
  /**
   * Bytes written to the result: of blobs, archives or files.
   */
  uint64_t bytes_written;
  /**
   * Bytes of input that will have been read at the end, as far as is known; 0 while nothing is. Equals `bytes_read` when an
   * operation has succeeded.
   */
  uint64_t bytes_total;
  /**
   * Whether treering_control_cancel() was called.
   */
  bool cancelled;
} treering_progress;

/**
 * Receives how far an operation is. Returns 0 to go on; any other number cancels everything that has the control, as
 * treering_control_cancel() does. `size` is how many bytes of `progress` there are: sizeof(treering_progress) in the library's
 * version.
 *
 * Called from a thread of the library, never from two at once. Must not run an operation with the same control. For exceptions
 * see treering_write_fn.
 */
typedef int32_t (*treering_progress_fn)(void *userdata, const treering_progress *progress, size_t size);

/**
 * Called exactly once with the `userdata` of a callback, when the library will not use it any more: before the function
 * that was given it returns, whatever it returns, also when an argument was refused (treering_control_set_progress() has its own
 * rule). NULL where nothing is to be done.
 */
typedef void (*treering_finalizer)(void *userdata);

/**
 * An event in full. What its kind does not have is zero or NULL; the pointers live as long as the event.
 */
typedef struct {
  /**
   * The kind of the event.
   */
  treering_event_kind kind;
  /**
   * Number of the step, unique in its operation; 0 for a warning, which belongs to no step.
   */
  uint32_t step;
  /**
   * Place of the step in its stage, counted from 1.
   */
  uint32_t place;
  /**
   * Number of steps in the stage.
   */
  uint32_t places;
  /**
   * Stream that the output was written to: 1 for standard output, 2 for standard error.
   */
  uint32_t stream;
  /**
   * Line that the event is about, counted from 1; 0 for none.
   */
  uint32_t line;
  /**
   * Column in it, counted from 1 in bytes; 0 for the whole line.
   */
  uint32_t column;
  /**
   * Name of the file that the line is in, as it was given.
   */
  const uint8_t *file;
  /**
   * The bytes in `file`.
   */
  size_t file_len;
  /**
   * Text of the line, without its end.
   */
  const char *line_text;
  /**
   * Name or number of the stage of a build.
   */
  const char *stage;
  /**
   * The step's name, the warning, or the reason of the failure, in one line.
   */
  const char *text;
  /**
   * Name of the check that warns.
   */
  const char *rule;
  /**
   * Digest of the blob.
   */
  const char *digest;
  /**
   * Output as it came, not cut at lines.
   */
  const uint8_t *output;
  /**
   * The bytes in `output`.
   */
  size_t output_len;
  /**
   * Bytes: see the kinds.
   */
  uint64_t bytes;
  /**
   * Bytes of the blob in all; 0 while unknown.
   */
  uint64_t bytes_total;
  /**
   * How long the step took.
   */
  uint64_t milliseconds;
} treering_event_data;

/**
 * Receives what happens during operations: a hook for a log. `event` and what it leads to live as long as the call. `size` is how
 * many bytes of `event` there are: sizeof(treering_event_data) in the library's version.
 *
 * Called on the threads of the operation, never from two at once. Must return soon, and must not run an operation with the same
 * control. For exceptions see treering_write_fn.
 */
typedef void (*treering_event_fn)(void *userdata, const treering_event_data *event, size_t size);

/**
 * A note of a report. The pointers live as long as the report.
 */
typedef struct {
  /**
   * The kind of the note.
   */
  treering_note_kind kind;
  /**
   * A path below the root of the tree.
   */
  const uint8_t *path;
  /**
   * The bytes in `path`.
   */
  size_t path_len;
  /**
   * The attribute that was lost: the name of an extended attribute, or `mtime`. NULL for what was skipped.
   */
  const uint8_t *attribute;
  /**
   * The bytes in `attribute`.
   */
  size_t attribute_len;
  /**
   * Why, in plain words, NUL-terminated.
   */
  const char *reason;
} treering_note;

/**
 * Caps on what the content of a store may ask for, TREERING_LIMIT where it asks for more; and what the store keeps to save time.
 */
typedef struct {
  /**
   * Most bytes that an index, manifest or configuration may have. 0 for 4 MiB.
   */
  uint64_t max_document_bytes;
  /**
   * How deep arrays and objects may be nested in one of those: 127 at most. 0 for 64.
   */
  size_t max_document_depth;
  /**
   * How many indexes may lie inside one another, `index.json` counted. 0 for 4.
   */
  size_t max_index_depth;
  /**
   * Most layers that an image may have. 0 for 512.
   */
  size_t max_layers;
  /**
   * Most bytes that a blob that is written may have. 0 for no cap.
   */
  uint64_t max_blob_bytes;
  /**
   * Most bytes that records of builds may take with the layers that nothing else needs, before a build lets go of those not
   * used for longest. 0 for 20 GiB.
   */
  uint64_t max_cache_bytes;
  /**
   * Makes no indexes of layers, which take at most 1% of their blobs and have files read without the layer before them. Those
   * that are there are used.
   */
  bool no_layer_index;
} treering_store_options;

/**
 * The result of a check of a store.
 */
typedef struct {
  /**
   * How many problems there are; 0 for a sound store.
   */
  uint64_t problems;
  /**
   * How many blobs were looked at.
   */
  uint64_t blobs;
  /**
   * How many bytes were hashed.
   */
  uint64_t bytes;
} treering_fsck_result;

/**
 * Options of treering_store_prune().
 */
typedef struct {
  /**
   * Only report what would go.
   */
  bool dry_run;
  /**
   * Keep images that have no name.
   */
  bool keep_untagged;
  /**
   * First take away the names of images that no tree was made from, so that these images go as well.
   */
  bool unused_names;
  /**
   * Forget trees that are not where they were unpacked or last committed, with the owners and devices that the disk could
   * not hold.
   */
  bool lost_trees;
  /**
   * Digests (`sha256:` and 64 hex digits) of blobs to keep with what they refer to, besides everything that is named or
   * that a tree was made from.
   */
  const char *const *keep;
  /**
   * Number of digests in `keep`.
   */
  size_t keep_len;
  /**
   * Milliseconds to wait for writers to finish before giving up with TREERING_BUSY. NULL for 10 seconds.
   */
  const uint64_t *wait;
  /**
   * Remove records of build steps as well, those that hold layers which no image needs, and these layers.
   */
  bool build_cache;
  /**
   * Remove all records of build steps, also those of layers that images need.
   */
  bool all_build_cache;
  /**
   * Of records that would go, keep those used last, up to so many bytes with their layers. 0 for none.
   */
  uint64_t keep_storage;
  /**
   * Only records that were not used for so many seconds. 0 for all.
   */
  uint64_t unused_for;
} treering_prune_options;

/**
 * The result of a prune: what it removed, or would remove.
 */
typedef struct {
  /**
   * Untagged images that lost their entry.
   */
  uint64_t images;
  /**
   * Blobs that went.
   */
  uint64_t blobs;
  /**
   * DiffIDs that lost their relations, and ChainIDs that lost their entry list.
   */
  uint64_t layers;
  /**
   * Files that dead writers had left.
   */
  uint64_t leftovers;
  /**
   * The bytes all of it took on disk.
   */
  uint64_t bytes;
  /**
   * Names that were taken away.
   */
  uint64_t untagged;
  /**
   * Trees that were forgotten.
   */
  uint64_t forgotten;
  /**
   * Records of build steps that went.
   */
  uint64_t records;
} treering_prune_result;

/**
 * A digest as text: `sha256:` and 64 hex digits, NUL-terminated; an empty string where there is none.
 */
typedef struct {
  /**
   * The text.
   */
  char text[72];
} treering_digest;

/**
 * A name and the image it stands for. The pointers live as long as the list they came from.
 */
typedef struct {
  /**
   * The name, always with a tag; NULL for an image without a name.
   */
  const char *name;
  /**
   * The media type of the manifest or index it stands for.
   */
  const char *media_type;
  /**
   * The digest of that manifest or index.
   */
  treering_digest digest;
  /**
   * The size of that document, in bytes.
   */
  uint64_t size;
} treering_ref;

/**
 * The image that a name stands for.
 */
typedef struct {
  /**
   * The digest of the manifest or index.
   */
  treering_digest digest;
  /**
   * The size of that document, in bytes.
   */
  uint64_t size;
} treering_resolved;

/**
 * A layer of an image. The pointers live as long as the image.
 */
typedef struct {
  /**
   * The digest of the blob.
   */
  treering_digest digest;
  /**
   * The digest of the tar inside it.
   */
  treering_digest diff_id;
  /**
   * The size of the blob, in bytes.
   */
  uint64_t size;
  /**
   * The media type of the blob.
   */
  const char *media_type;
} treering_layer;

/**
 * Bytes that belong to the caller, such as a path; all zero for none. `{TREERING_PATH(string)}` makes one of a C string.
 */
typedef struct {
  /**
   * The first byte.
   */
  const uint8_t *data;
  /**
   * How many.
   */
  size_t len;
} treering_slice;

/**
 * A key and its value: an annotation. Both belong to the caller.
 */
typedef struct {
  /**
   * The key.
   */
  const char *key;
  /**
   * The value.
   */
  const char *value;
} treering_pair;

/**
 * Options of a commit.
 */
typedef struct {
  /**
   * The base of the image: `auto` (also NULL) for the image the directory was unpacked from or last committed to, if
   * any; `scratch` for nothing; else the reference of an image.
   */
  const char *base;
  /**
   * How far metadata is trusted: `auto` (also NULL) trusts device, inode, ctime and the like, and compares the content of
   * everything else with the same metadata; `metadata` trusts size and times alone; `content` trusts nothing.
   */
  const char *compare;
  /**
   * Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
   * tree, else `root`; with lower directories, for the owners on disk when root commits.
   */
  const char *owner;
  /**
   * Record of owners to go by, which counts for more than `owner` and what the store has: `none`; `rootlesscontainers` or
   * `override-stat` for the extended attribute `user.rootlesscontainers` or `user.containers.override_stat`, which then is
   * no attribute of the file; `fakeroot:FILE` for what `fakeroot -s FILE` saved. Empty for what the store has for the tree,
   * else `none`.
   */
  treering_slice owner_from;
  /**
   * Compression of the layer: `none`, `gzip` (also NULL) or `zstd`.
   */
  const char *compression;
  /**
   * Level of the compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
   */
  int32_t level;
  /**
   * Write time stamps with nanoseconds, instead of whole seconds as most tools write.
   */
  bool nanoseconds;
  /**
   * Put everything into one layer and drop the base's layers and history; its configuration stays.
   */
  bool squash;
  /**
   * Do not look at what is mounted: a mount point counts as unchanged, or as empty where there was nothing.
   */
  bool one_file_system;
  /**
   * Latest time stamp in the layer, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
   */
  const int64_t *clamp_mtime;
  /**
   * Time the image is dated: seconds since 1970. NULL for now. Set it (and nothing else that varies) for an image with a
   * digest that depends on its content alone.
   */
  const int64_t *created;
  /**
   * Author of the image. NULL for the author of the base, if any.
   */
  const char *author;
  /**
   * Message for the history. NULL for none.
   */
  const char *message;
  /**
   * Changes of the configuration, applied in order: Dockerfile instructions as `docker commit --change` takes them (`CMD`,
   * `ENTRYPOINT`, `ENV`, `EXPOSE`, `HEALTHCHECK`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`).
   */
  const char *const *changes;
  /**
   * Number of `changes`.
   */
  size_t changes_len;
  /**
   * Annotations of the manifest.
   */
  const treering_pair *annotations;
  /**
   * Number of `annotations`.
   */
  size_t annotations_len;
  /**
   * Lower directories, topmost first: the tree is then the upper directory of an overlay over these. Such a commit needs
   * its base named.
   */
  const treering_slice *lowers;
  /**
   * Number of `lowers`.
   */
  size_t lowers_len;
  /**
   * Platform of the new image, and of a multi-platform base: `os/arch[/variant]`. NULL for the base's, else this machine's.
   */
  const char *platform;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
  /**
   * Make no image where nothing changed and nothing is asked for but a name: the base gets the name. Otherwise the image has a
   * row of history more than its base, as Docker has it.
   */
  bool only_if_changed;
  /**
   * Let times say nothing: what differs in its time alone is compared by its content.
   */
  bool ignore_times;
  /**
   * Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again. Of what is
   * left out nothing changes.
   */
  const char *const *exclude;
  /**
   * Number of `exclude`.
   */
  size_t exclude_len;
  /**
   * File of such patterns, one a line, which count before `exclude`. Empty for none.
   */
  treering_slice ignore_file;
} treering_commit_options;

/**
 * The result of a commit or an import.
 */
typedef struct {
  /**
   * The digest of the manifest.
   */
  treering_digest manifest;
  /**
   * The image id: the digest of the configuration.
   */
  treering_digest image_id;
  /**
   * Whether there is a new layer; there is none when nothing changed and only the configuration is new.
   */
  bool has_layer;
  /**
   * The digest of the new layer's tar stream; empty without one.
   */
  treering_digest layer_diff_id;
  /**
   * The digest of the new layer's blob; empty without one.
   */
  treering_digest layer_digest;
  /**
   * The length of the new layer's tar stream, in bytes.
   */
  uint64_t layer_diff_size;
  /**
   * The length of the new layer's blob, in bytes.
   */
  uint64_t layer_size;
  /**
   * Paths added.
   */
  uint64_t added;
  /**
   * Paths changed.
   */
  uint64_t changed;
  /**
   * Paths deleted (a deleted directory counts once).
   */
  uint64_t deleted;
  /**
   * Bytes in the added and changed regular files.
   */
  uint64_t bytes;
  /**
   * How many notes the report has: what is in the directory and cannot be in a layer.
   */
  uint64_t skipped;
  /**
   * How many entries got another owner than they have on disk, by the owner policy.
   */
  uint64_t owners_replaced;
} treering_commit_result;

/**
 * Options of how layers are put into a directory, by treering_unpack() and treering_layer_apply_fd().
 */
typedef struct {
  /**
   * Number of threads that create files; 0 for one per processor; at most four either way.
   */
  size_t threads;
  /**
   * Make it an error, TREERING_LOSS, when an attribute can be kept neither on disk nor in the ledger.
   */
  bool deny_loss;
  /**
   * Take whiteouts as containerd does, which the specification forbids and old tools wrote.
   */
  bool lenient;
  /**
   * Make everything durable before treering_unpack() returns: the files (syncfs(2)), and then the name of the directory.
   */
  bool sync;
  /**
   * Extended attribute to write owners into as well, for other tools: `rootlesscontainers` for `user.rootlesscontainers`
   * (PRoot, umoci) or `override-stat` for `user.containers.override_stat` (fuse-overlayfs, containers/storage). NULL for
   * none.
   */
  const char *owner_xattr;
  /**
   * Most bytes that all files of one layer may have when written out, holes included. 0 for 1 TiB; more than 256 GiB of the
   * layer itself only where this allows it.
   */
  uint64_t max_bytes;
  /**
   * Most entries that one layer may have. 0 for ten million.
   */
  uint64_t max_entries;
  /**
   * How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
   */
  uint64_t max_ratio;
  /**
   * Platform that treering_unpack() takes of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
} treering_apply_options;

/**
 * The result of an unpack.
 */
typedef struct {
  /**
   * The digest of the image's manifest.
   */
  treering_digest manifest;
  /**
   * How many entries the tree has, its root not counted.
   */
  uint64_t entries;
  /**
   * For how many of them the store keeps what the disk did not take.
   */
  uint64_t in_ledger;
  /**
   * How many notes the report has: what neither took.
   */
  uint64_t losses;
} treering_unpack_result;

/**
 * An entry of a snapshot.
 */
typedef struct {
  /**
   * The path, components joined by `/`, without a leading one; empty for the root. Any bytes but NUL. How long it lives
   * is said where the entry comes from.
   */
  const uint8_t *path;
  /**
   * The bytes in `path`.
   */
  size_t path_len;
  /**
   * The target of a symbolic link, else empty. Lives as long as the snapshot.
   */
  const uint8_t *target;
  /**
   * The bytes in `target`.
   */
  size_t target_len;
  /**
   * The length of a regular file in bytes; 0 for everything else.
   */
  uint64_t size;
  /**
   * Last change of content: seconds since 1970.
   */
  int64_t mtime_secs;
  /**
   * Last change of content: nanoseconds to add, 0 to 999999999.
   */
  uint32_t mtime_nanos;
  /**
   * The kind of the entry.
   */
  treering_file_kind kind;
  /**
   * Permission bits with setuid, setgid and sticky: 0 to 07777.
   */
  uint32_t mode;
  /**
   * Owner, as a layer would have it.
   */
  uint32_t uid;
  /**
   * Group, as a layer would have it.
   */
  uint32_t gid;
  /**
   * Major number of a device.
   */
  uint32_t rdev_major;
  /**
   * Minor number of a device.
   */
  uint32_t rdev_minor;
  /**
   * How many names the file has, inside the tree or out of it.
   */
  uint32_t nlink;
  /**
   * The number of the entry in its snapshot.
   */
  uint32_t index;
  /**
   * The number of the directory it is in; the root is in itself.
   */
  uint32_t parent;
  /**
   * The number of the first entry, in path order, of those that are the same file (hard links); its own when it is alone.
   */
  uint32_t leader;
  /**
   * How many extended attributes it has, see treering_snapshot_xattrs().
   */
  uint32_t xattrs;
  /**
   * Whether `digest` is known.
   */
  bool has_digest;
  /**
   * The sha256 of the content, where it was taken.
   */
  uint8_t digest[32];
} treering_entry;

/**
 * An extended attribute. The pointers live as long as the snapshot or list it is from.
 */
typedef struct {
  /**
   * The name.
   */
  const uint8_t *name;
  /**
   * The bytes in `name`.
   */
  size_t name_len;
  /**
   * The value.
   */
  const uint8_t *value;
  /**
   * The bytes in `value`.
   */
  size_t value_len;
} treering_xattr;

/**
 * Options of treering_snapshot_scan().
 */
typedef struct {
  /**
   * Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
   * tree, else `root`.
   */
  const char *owner;
  /**
   * Record of owners to go by, as in treering_commit_options.
   */
  treering_slice owner_from;
  /**
   * Store that may have what the disk could not hold of this tree (owners, devices, attributes). NULL for none.
   */
  const treering_store *store;
  /**
   * Snapshot of the same tree from before, taken with the same owner, source and store: what has not changed since is taken
   * from it, unread. NULL for none.
   */
  const treering_snapshot *previous;
  /**
   * Leave out what is mounted below the root: a mount point stays, as an empty directory.
   */
  bool one_file_system;
  /**
   * Keep extended attributes that no layer carries (SELinux labels, IMA and EVM signatures, overlayfs marks).
   */
  bool all_xattrs;
  /**
   * Number of threads; 0 for one per processor.
   */
  size_t threads;
  /**
   * Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again.
   */
  const char *const *exclude;
  /**
   * Number of `exclude`.
   */
  size_t exclude_len;
  /**
   * File of such patterns, one a line, which count before `exclude`. Empty for none.
   */
  treering_slice ignore_file;
} treering_scan_options;

/**
 * Options of a comparison of trees.
 */
typedef struct {
  /**
   * Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
   * tree, else `root`; for treering_diff_overlay(), for the owners on disk when root compares.
   */
  const char *owner;
  /**
   * Record of owners to go by, as in treering_commit_options.
   */
  treering_slice owner_from;
  /**
   * How far metadata is trusted: `auto` (also NULL), `metadata` or `content`, as in treering_commit_options.
   */
  const char *compare;
  /**
   * Platform of a multi-platform base: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * Take times that agree in the second for different when one of them has no fraction. Layers usually carry whole seconds,
   * so this is off.
   */
  bool exact_times;
  /**
   * Do not look at what is mounted: a mount point counts as unchanged, or as empty where there was nothing.
   */
  bool one_file_system;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
  /**
   * Turn the sides of treering_diff_tree() around: what makes the tree into its base.
   */
  bool reverse;
  /**
   * Let times say nothing: what differs in its time alone is compared by its content.
   */
  bool ignore_times;
  /**
   * Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again. Of what is
   * left out nothing changes.
   */
  const char *const *exclude;
  /**
   * Number of `exclude`.
   */
  size_t exclude_len;
  /**
   * File of such patterns, one a line, which count before `exclude`. Empty for none.
   */
  treering_slice ignore_file;
} treering_diff_options;

/**
 * A changed path.
 */
typedef struct {
  /**
   * The path, components joined by `/`, without a leading one. Any bytes but NUL.
   */
  const uint8_t *path;
  /**
   * The bytes in `path`.
   */
  size_t path_len;
  /**
   * The kind of the change.
   */
  treering_change_kind kind;
  /**
   * Why it counts as changed: TREERING_REASON_* or-ed together; 0 for what was added or deleted.
   */
  uint32_t reasons;
  /**
   * Its number in the old snapshot, TREERING_NO_ENTRY for what was added.
   */
  uint32_t old_index;
  /**
   * Its number in the new snapshot, TREERING_NO_ENTRY for what was deleted.
   */
  uint32_t new_index;
  /**
   * A directory that hides everything the layers below have in it.
   */
  bool opaque;
} treering_change;

/**
 * Changes in numbers.
 */
typedef struct {
  /**
   * Paths added.
   */
  uint64_t added;
  /**
   * Paths changed.
   */
  uint64_t changed;
  /**
   * Paths deleted (a deleted directory counts once).
   */
  uint64_t deleted;
  /**
   * Bytes in the added and changed regular files.
   */
  uint64_t bytes;
} treering_diff_stat_result;

/**
 * Gives bytes that the library reads: puts at most `capacity` of them into `buffer`, their number into `len` (0 at the end)
 * and returns 0. Any other number fails the operation with TREERING_CALLBACK. For the rest, see treering_write_fn.
 */
typedef int32_t (*treering_read_fn)(void *userdata, uint8_t *buffer, size_t capacity, size_t *len);

/**
 * A stream that an operation reads: of a callback, or of a descriptor.
 */
typedef struct {
  /**
   * Gives the bytes, see treering_read_fn. NULL for `fd`.
   */
  treering_read_fn read;
  /**
   * Handed to `read`, and not used when the operation has returned.
   */
  void *userdata;
  /**
   * A descriptor to read from without `read`, from its present position to its end. Stays open and yours.
   */
  int32_t fd;
} treering_input;

/**
 * Options of an edit: how an image becomes another one. The order is always this one: another base, layers dropped, layers
 * appended, layers squashed, then the configuration. With every member zero the image gets a name more.
 */
typedef struct {
  /**
   * Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * Another base: the key is the image that the image is built on, the value the one to take its place. NULL for the base it has.
   */
  const treering_pair *rebase;
  /**
   * How many of the last layers go.
   */
  size_t drop_last;
  /**
   * Layers to put on top, the first one first, as treering_layer_write_fd() writes them.
   */
  const treering_input *append;
  /**
   * Number of `append`.
   */
  size_t append_len;
  /**
   * How many of the last layers become one; -1 for all of them, 0 for none.
   */
  int32_t squash;
  /**
   * Changes of the configuration, applied in order: Dockerfile instructions as `docker commit --change` takes them.
   */
  const char *const *changes;
  /**
   * Number of `changes`.
   */
  size_t changes_len;
  /**
   * Labels of the configuration, set after `changes`.
   */
  const treering_pair *labels;
  /**
   * Number of `labels`.
   */
  size_t labels_len;
  /**
   * Annotations of the manifest. Those of the image stay.
   */
  const treering_pair *annotations;
  /**
   * Number of `annotations`.
   */
  size_t annotations_len;
  /**
   * Author of the image. NULL for the author of the old one.
   */
  const char *author;
  /**
   * Message for the history. NULL for none.
   */
  const char *message;
  /**
   * Time the image is dated: seconds since 1970. NULL for now.
   */
  const int64_t *created;
  /**
   * Compression of a squashed layer: `none`, `gzip` (also NULL) or `zstd`.
   */
  const char *compression;
  /**
   * Level of the compression; 0 for the default one.
   */
  int32_t level;
  /**
   * How many times larger than its blob an appended layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
   */
  uint64_t max_ratio;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
} treering_edit_options;

/**
 * The result of an edit.
 */
typedef struct {
  /**
   * The digest of the manifest.
   */
  treering_digest manifest;
  /**
   * The image id: the digest of the configuration.
   */
  treering_digest image_id;
  /**
   * How many layers the image has.
   */
  uint64_t layers;
  /**
   * Whether layers were squashed to one.
   */
  bool has_squashed;
  /**
   * The digest of that layer's tar stream; empty without one.
   */
  treering_digest squashed_diff_id;
  /**
   * The digest of that layer's blob; empty without one.
   */
  treering_digest squashed_digest;
  /**
   * The length of that layer's tar stream, in bytes.
   */
  uint64_t squashed_diff_size;
  /**
   * The length of that layer's blob, in bytes.
   */
  uint64_t squashed_size;
} treering_edit_result;

/**
 * Options of a clone.
 */
typedef struct {
  /**
   * Number of threads; 0 for one per processor.
   */
  size_t threads;
  /**
   * Make everything durable before the function returns: the files (syncfs(2)), and then the name of the directory.
   */
  bool sync;
} treering_clone_options;

/**
 * A tree that was copied.
 */
typedef struct {
  /**
   * The digest of the manifest of the image that both trees are bound to.
   */
  treering_digest manifest;
  /**
   * How many entries the copy has, its root not counted.
   */
  uint64_t entries;
  /**
   * For how many of them the store keeps what the disk did not take.
   */
  uint64_t in_ledger;
  /**
   * How many notes the report has: what was left out (sockets) and what was lost.
   */
  uint64_t notes;
} treering_clone_result;

/**
 * Options of a checkout.
 */
typedef struct {
  /**
   * Throw away what changed in the directory since it was unpacked, committed or checked out.
   */
  bool discard;
  /**
   * Only say what would happen.
   */
  bool dry_run;
  /**
   * Make it an error, TREERING_LOSS, when an attribute can be kept neither on disk nor in the ledger.
   */
  bool deny_loss;
  /**
   * Make everything durable before the function returns (syncfs(2)).
   */
  bool sync;
  /**
   * Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
   */
  uint64_t max_ratio;
  /**
   * Number of threads; 0 for one per processor.
   */
  size_t threads;
} treering_checkout_options;

/**
 * A directory that was checked out.
 */
typedef struct {
  /**
   * The digest of the manifest of the image that the directory now is, or would be.
   */
  treering_digest manifest;
  /**
   * How many entries were made, or got another content.
   */
  uint64_t written;
  /**
   * How many entries stayed and got other metadata, or names.
   */
  uint64_t updated;
  /**
   * How many entries were removed, those below a removed directory counted.
   */
  uint64_t removed;
  /**
   * How many entries were left as they were, the root counted.
   */
  uint64_t kept;
  /**
   * For how many entries the store keeps what the disk did not take.
   */
  uint64_t in_ledger;
  /**
   * How many notes the report has: what neither took.
   */
  uint64_t losses;
} treering_checkout_result;

/**
 * Options of a layer that is written.
 */
typedef struct {
  /**
   * Compression of the layer: `none`, `gzip` (also NULL) or `zstd`.
   */
  const char *compression;
  /**
   * Level of the compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
   */
  int32_t level;
  /**
   * Write time stamps with nanoseconds, instead of whole seconds as most tools write.
   */
  bool nanoseconds;
  /**
   * Latest time stamp in the layer, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
   */
  const int64_t *clamp_mtime;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
} treering_layer_options;

/**
 * A layer that was written.
 */
typedef struct {
  /**
   * The digest of the tar stream, which an image's configuration lists as `diff_id`.
   */
  treering_digest diff_id;
  /**
   * The digest of the blob, which a manifest names.
   */
  treering_digest digest;
  /**
   * The length of the tar stream, in bytes.
   */
  uint64_t diff_size;
  /**
   * The length of the blob, in bytes.
   */
  uint64_t size;
  /**
   * How many tar entries it has.
   */
  uint64_t entries;
} treering_layer_result;

/**
 * Takes bytes that the library writes. Returns 0 when all of them were taken; any other number fails the operation with
 * TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
 *
 * Called from threads of the library, never from two at once, always before the function that was given it returns. Must
 * not let a C++ exception or a longjmp out: that is undefined behaviour. Catch it and return a number, or have TREERING_CATCH()
 * do so.
 */
typedef int32_t (*treering_write_fn)(void *userdata, const uint8_t *data, size_t len);

/**
 * A layer that was applied.
 */
typedef struct {
  /**
   * The digest of the tar stream. Compare it with what you expect: the bytes were applied as they came.
   */
  treering_digest diff_id;
  /**
   * The digest of the blob as it was read.
   */
  treering_digest digest;
  /**
   * The length of the tar stream, in bytes.
   */
  uint64_t diff_size;
  /**
   * The length of the blob, in bytes.
   */
  uint64_t size;
  /**
   * How many entries the tree has now, its root not counted.
   */
  uint64_t entries;
  /**
   * For how many entries the disk did not take owner, permissions, device or attributes, and nothing keeps them: 0 when
   * the store does.
   */
  uint64_t unkept;
  /**
   * How many notes the report has.
   */
  uint64_t losses;
} treering_apply_result;

/**
 * Caps on what a layer that is listed may ask for.
 */
typedef struct {
  /**
   * Most bytes that all files of the layer may have when written out, holes included. 0 for 1 TiB; more than 256 GiB of the
   * layer itself only where this allows it.
   */
  uint64_t max_bytes;
  /**
   * Most entries that the layer may have. 0 for ten million.
   */
  uint64_t max_entries;
  /**
   * How many times larger than its blob the layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
   */
  uint64_t max_ratio;
  /**
   * Most bytes of memory that the list may take: a small layer can hold names and attributes for far more. 0 for 1 GiB.
   */
  uint64_t max_memory;
} treering_layer_list_options;

/**
 * An entry of a layer. The pointers live as long as the list.
 */
typedef struct {
  /**
   * The path, components joined by `/`, without a leading one; empty for the root. A whiteout is a file `.wh.NAME`.
   */
  const uint8_t *path;
  /**
   * The bytes in `path`.
   */
  size_t path_len;
  /**
   * The target of a symbolic link, or the path of the entry that a hard link joins; else empty.
   */
  const uint8_t *link;
  /**
   * The bytes in `link`.
   */
  size_t link_len;
  /**
   * The length of a regular file in bytes; 0 for everything else.
   */
  uint64_t size;
  /**
   * Last change of content: seconds since 1970.
   */
  int64_t mtime_secs;
  /**
   * Last change of content: nanoseconds to add, 0 to 999999999.
   */
  uint32_t mtime_nanos;
  /**
   * The kind of the entry.
   */
  treering_file_kind kind;
  /**
   * Permission bits with setuid, setgid and sticky: 0 to 07777.
   */
  uint32_t mode;
  /**
   * Owner.
   */
  uint32_t uid;
  /**
   * Group.
   */
  uint32_t gid;
  /**
   * Major number of a device.
   */
  uint32_t rdev_major;
  /**
   * Minor number of a device.
   */
  uint32_t rdev_minor;
  /**
   * How many extended attributes it has, see treering_layer_list_xattrs().
   */
  uint32_t xattrs;
} treering_layer_entry;

/**
 * Options of a save.
 */
typedef struct {
  /**
   * Kind of archive: `docker-archive` (also NULL) or `oci-archive`.
   */
  const char *format;
  /**
   * Platform to save of an image for several: `os/arch[/variant]`. NULL for this machine's, or with `oci-archive` for all.
   */
  const char *platform;
} treering_save_options;

/**
 * Options of a load.
 */
typedef struct {
  /**
   * The policy for the names in the archive: `keep` (also NULL), a name that stands for another image in the store is an
   * error, TREERING_ALREADY_EXISTS; `move`, it is moved, as `docker load` does; `ignore`, images get no names.
   */
  const char *names;
  /**
   * Most bytes that the archive, and each layer in it, may have uncompressed. 0 for 1 TiB.
   */
  uint64_t max_bytes;
  /**
   * Most entries that the archive may have. 0 for 100,000.
   */
  uint64_t max_entries;
} treering_load_options;

/**
 * An image that was loaded. The pointer lives as long as the list.
 */
typedef struct {
  /**
   * The name it has in the store; NULL when it was loaded without one.
   */
  const char *name;
  /**
   * The digest of its manifest, or of its index when it is for several platforms.
   */
  treering_digest manifest;
  /**
   * The image id: the digest of its configuration.
   */
  treering_digest image_id;
} treering_loaded_image;

/**
 * Options of an import.
 */
typedef struct {
  /**
   * The configuration, as Dockerfile instructions: what treering_commit_options takes for changes.
   */
  const char *const *changes;
  /**
   * Number of `changes`.
   */
  size_t changes_len;
  /**
   * Message for the history. NULL for none.
   */
  const char *message;
  /**
   * Author of the image. NULL for none.
   */
  const char *author;
  /**
   * Platform of the image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * Time the image is dated: seconds since 1970. NULL for now.
   */
  const int64_t *created;
  /**
   * Compression to write the layer anew with: `none`, `gzip` or `zstd`. NULL keeps its bytes as they come.
   */
  const char *compression;
  /**
   * Level of that compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
   */
  int32_t level;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
  /**
   * Most bytes that the tar may have uncompressed. 0 for 256 GiB, and 1 TiB for its files with their holes.
   */
  uint64_t max_bytes;
  /**
   * Most entries that the tar may have. 0 for ten million.
   */
  uint64_t max_entries;
} treering_import_options;

/**
 * Options of an export.
 */
typedef struct {
  /**
   * Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
   * tree, else `root`.
   */
  const char *owner;
  /**
   * Record of owners to go by, as in treering_commit_options.
   */
  treering_slice owner_from;
  /**
   * Write time stamps with nanoseconds, instead of whole seconds as most tools write.
   */
  bool nanoseconds;
  /**
   * Latest time stamp in the tar, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
   */
  const int64_t *clamp_mtime;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
} treering_export_options;

/**
 * Options of access to registries. Zero stands for what the environment says: `$TREERING_REGISTRIES` and the files of
 * Docker and podman, and the proxies in `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
 */
typedef struct {
  /**
   * File that says where registries are (`registries.toml`). Empty for that of the environment.
   */
  treering_slice config_file;
  /**
   * File that credentials are read from and kept in, in Docker's format. Empty for those of the environment.
   */
  treering_slice auth_file;
  /**
   * User name for every registry that is asked, before any file is looked at. NULL for none. With a `password`.
   */
  const char *username;
  /**
   * Password or token of that user.
   */
  const char *password;
  /**
   * Milliseconds that a connection may stand still; 0 for 60000.
   */
  uint32_t stall_ms;
  /**
   * Number of times a request is tried in all; 0 for 5.
   */
  uint32_t attempts;
} treering_registries_options;

/**
 * Is asked for the credentials of a repository before any file is looked at: it calls treering_answer_basic() or
 * treering_answer_token() with `answer`, or neither, which sends the question on to the files. Returns 0; any other number fails the
 * operation with TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
 *
 * This is the place for credential helpers: the library starts none, and an entry of a file that a helper holds is an error.
 * Called from threads of the library, never from two at once. Must not use the treering_registries it belongs to. For exceptions
 * see treering_write_fn.
 */
typedef int32_t (*treering_credentials_fn)(void *userdata,
                                           const char *registry,
                                           const char *repository,
                                           treering_answer *answer);

/**
 * Options of a pull.
 */
typedef struct {
  /**
   * Platform of an image for several: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * All platforms, and whatever else the index lists, attestations for example.
   */
  bool all_platforms;
  /**
   * Name that the image gets in the store. NULL for the one it is pulled by.
   */
  const char *as_name;
  /**
   * How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
   */
  uint64_t max_ratio;
} treering_pull_options;

/**
 * An image that was pulled.
 */
typedef struct {
  /**
   * The digest the registry has it under: of the index when it is for several platforms, else of the manifest.
   */
  treering_digest digest;
  /**
   * The digest of the manifest of the platform that was chosen.
   */
  treering_digest manifest;
  /**
   * The image id: the digest of the configuration.
   */
  treering_digest image_id;
  /**
   * Whether the name stood for this very image before, and nothing was missing.
   */
  bool up_to_date;
  /**
   * How many layers were fetched; the others were in the store.
   */
  uint64_t layers_fetched;
  /**
   * How many bytes of layers were fetched.
   */
  uint64_t bytes_fetched;
} treering_pull_result;

/**
 * Options of a push.
 */
typedef struct {
  /**
   * Only this platform's image out of one for several: `os/arch[/variant]`. NULL for all.
   */
  const char *platform;
  /**
   * Send blobs even where another repository of the registry is known to hold them.
   */
  bool no_mount;
} treering_push_options;

/**
 * An image that was pushed, or copied.
 */
typedef struct {
  /**
   * The digest that the registry has it under now.
   */
  treering_digest digest;
  /**
   * The size of the manifest or index, in bytes.
   */
  uint64_t size;
  /**
   * How many blobs were sent.
   */
  uint64_t sent;
  /**
   * How many bytes they have.
   */
  uint64_t bytes_sent;
  /**
   * How many blobs were taken from another repository of the registry.
   */
  uint64_t mounted;
  /**
   * How many blobs were there already.
   */
  uint64_t present;
  /**
   * Whether this machine's platform was pushed alone, because the store does not hold the others of the image.
   */
  bool only_platform;
} treering_push_result;

/**
 * A call of git that a build asks for. Everything in it is there until the function returns.
 */
typedef struct {
  /**
   * The working directory. Behind its bytes is a NUL.
   */
  treering_slice directory;
  /**
   * Arguments, without the name of the program.
   */
  const char *const *arguments;
  /**
   * Number of `arguments`.
   */
  size_t arguments_len;
  /**
   * The environment. PATH and what says how servers are reached (proxies, certificates) are to be added, and nothing else. May hold a
   * secret.
   */
  const treering_pair *environment;
  /**
   * Number of `environment`.
   */
  size_t environment_len;
} treering_git_call;

/**
 * Runs git, waits for it, and calls treering_git_answer_set() with `answer`. Returns 0; any other number fails the operation with
 * TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
 *
 * `size` is how many bytes of `call` there are: sizeof(treering_git_call) in the library's header.
 *
 * The library starts no git: this function does, with the arguments and the environment that it is given. It also has to end git when the
 * operation is cancelled. Called from threads of the library, never from two at once, always
 * before the function that was given it returns. For exceptions see treering_write_fn.
 */
typedef int32_t (*treering_git_fn)(void *userdata,
                                   const treering_git_call *call,
                                   size_t size,
                                   treering_git_answer *answer);

/**
 * The function that runs git.
 */
typedef struct {
  /**
   * See treering_git_fn. NULL for none: repositories are refused.
   */
  treering_git_fn run;
  /**
   * Handed to `run`, and not used when the operation has returned.
   */
  void *userdata;
} treering_git;

/**
 * Options of a build from a Dockerfile.
 */
typedef struct {
  /**
   * Directory with the files. Empty for none: the Dockerfile alone.
   */
  treering_slice context;
  /**
   * Path of the Dockerfile. Empty for `Dockerfile` in the context. Not with `dockerfile_text`.
   */
  treering_slice dockerfile;
  /**
   * Text of the Dockerfile. Empty for a file.
   */
  treering_slice dockerfile_text;
  /**
   * Further contexts by name: a directory, or `docker-image://NAME`.
   */
  const treering_pair *build_contexts;
  /**
   * Number of `build_contexts`.
   */
  size_t build_contexts_len;
  /**
   * Names of the image.
   */
  const char *const *tags;
  /**
   * Number of `tags`.
   */
  size_t tags_len;
  /**
   * Stage to build, by name or number. NULL for the last one.
   */
  const char *target;
  /**
   * Values of arguments (ARG).
   */
  const treering_pair *build_args;
  /**
   * Number of `build_args`.
   */
  size_t build_args_len;
  /**
   * Labels to add.
   */
  const treering_pair *labels;
  /**
   * Number of `labels`.
   */
  size_t labels_len;
  /**
   * Annotations of the manifest.
   */
  const treering_pair *annotations;
  /**
   * Number of `annotations`.
   */
  size_t annotations_len;
  /**
   * Carry out every step, whatever the cache has.
   */
  bool no_cache;
  /**
   * Stages that are carried out whatever the cache has.
   */
  const char *const *no_cache_filter;
  /**
   * Number of `no_cache_filter`.
   */
  size_t no_cache_filter_len;
  /**
   * Other places where records of steps are looked up, in this order: `REFERENCE` of a registry,
   * `type=registry,ref=REFERENCE` or `type=local,src=DIRECTORY`.
   */
  const char *const *cache_from;
  /**
   * Number of `cache_from`.
   */
  size_t cache_from_len;
  /**
   * Places that records of steps are written to once the image has its names: `REFERENCE`,
   * `type=registry,ref=REFERENCE[,mode=min|max]`, `type=local,dest=DIRECTORY[,mode=min|max]` or `type=inline`.
   */
  const char *const *cache_to;
  /**
   * Number of `cache_to`.
   */
  size_t cache_to_len;
  /**
   * Platform to build for: `os/arch[/variant]`, several with commas between them. NULL for this machine's.
   */
  const char *platform;
  /**
   * Compression of the layers: `none`, `gzip` (also NULL) or `zstd`.
   */
  const char *compression;
  /**
   * Level of the compression; 0 for the default one.
   */
  int32_t level;
  /**
   * Write time stamps with nanoseconds, instead of whole seconds as most tools write.
   */
  bool nanoseconds;
  /**
   * Time of everything that the build dates, and the latest time in a layer: seconds since 1970. NULL for now, and for times
   * as they are.
   */
  const int64_t *source_date_epoch;
  /**
   * The registries of base images that are not in the store. NULL for nowhere: no socket is opened then.
   */
  const treering_registries *registries;
  /**
   * Ask the registries for newer versions of base images.
   */
  bool pull;
  /**
   * Program that commands are started with, `treering-init` or `treering`. Empty to look for it in `$TREERING_INIT`, beside the
   * library, and on PATH.
   */
  treering_slice helper;
  /**
   * Which checks are skipped, as in the directive `# check=`: `skip=RULE,...;error=true`. NULL for what the Dockerfile says.
   */
  const char *checks;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
  /**
   * Address of the files instead of `context`: a tar or a Dockerfile. NULL for none.
   */
  const char *context_address;
  /**
   * Make one layer of those of the build.
   */
  bool squash;
  /**
   * The most commands that run at once; 0 for one per processor.
   */
  size_t jobs;
  /**
   * Secrets that commands may be shown: id and value. They are in no cache, layer, event or message.
   */
  const treering_pair *secrets;
  /**
   * Number of `secrets`.
   */
  size_t secrets_len;
  /**
   * Secrets in files, read when a command needs them: id and path.
   */
  const treering_pair *secret_files;
  /**
   * Number of `secret_files`.
   */
  size_t secret_files_len;
  /**
   * Agents that commands may reach: id (`default` for mounts that name none) and the path of the socket.
   */
  const treering_pair *agents;
  /**
   * Number of `agents`.
   */
  size_t agents_len;
  /**
   * More lines for the `/etc/hosts` of commands: name and address.
   */
  const treering_pair *hosts;
  /**
   * Number of `hosts`.
   */
  size_t hosts_len;
  /**
   * Limits of commands, such as `nofile=1024:4096`.
   */
  const char *const *limits;
  /**
   * Number of `limits`.
   */
  size_t limits_len;
  /**
   * The most bytes in `/dev/shm` of commands; 0 for 64 MiB.
   */
  uint64_t shm_size;
  /**
   * Attest how the image was built (SLSA provenance): `true`, or fields with commas between them, `mode=min|max`,
   * `builder-id=URI` and `reproducible=true`. The name stands for an index then. NULL or `false` for not.
   */
  const char *provenance;
  /**
   * Attest what is in the image (SPDX).
   */
  bool sbom;
  /**
   * The function that runs git, for repositories as contexts and in ADD.
   */
  treering_git git;
  /**
   * Give commands no network, unless `RUN --network=host` asks for that of the host.
   */
  bool no_network;
} treering_build_options;

/**
 * The result of a build.
 */
typedef struct {
  /**
   * The digest of the manifest.
   */
  treering_digest manifest;
  /**
   * The image id: the digest of the configuration.
   */
  treering_digest image_id;
  /**
   * The size of the manifest, in bytes.
   */
  uint64_t manifest_size;
  /**
   * How many steps came out of the cache.
   */
  uint64_t cached;
  /**
   * How many steps were carried out.
   */
  uint64_t carried_out;
  /**
   * How many warnings the checks gave; each is an event as well.
   */
  uint64_t warnings;
} treering_build_result;

/**
 * Settings of a container, in place of its image's or besides them.
 */
typedef struct {
  /**
   * Its name. NULL for one that is made up.
   */
  const char *name;
  /**
   * The command: arguments of the entry point, where there is one. Empty for the image's.
   */
  const char *const *command;
  /**
   * Number of `command`.
   */
  size_t command_len;
  /**
   * The entry point; an empty one is none. NULL for the image's. With one the image's CMD does not count.
   */
  const char *entrypoint;
  /**
   * Variables, `NAME=VALUE`; a name alone takes the variable away.
   */
  const char *const *environment;
  /**
   * Number of `environment`.
   */
  size_t environment_len;
  /**
   * User that it runs as: `USER[:GROUP]`. NULL for the image's.
   */
  const char *user;
  /**
   * The working directory of the command. NULL for the image's working directory.
   */
  const char *directory;
  /**
   * The host name. NULL for the first digits of its id.
   */
  const char *hostname;
  /**
   * Files and directories of the host in its tree, `HOST:PATH[:ro]`; nothing else of the host is there; a path alone is
   * a directory of the container's own that no commit takes.
   */
  const char *const *volumes;
  /**
   * Number of `volumes`.
   */
  size_t volumes_len;
  /**
   * Filesystems in memory, `PATH[:OPTION,...]`, as `docker run --tmpfs` takes them.
   */
  const char *const *tmpfs;
  /**
   * Number of `tmpfs`.
   */
  size_t tmpfs_len;
  /**
   * The network: `host` (also NULL) or `none`.
   */
  const char *network;
  /**
   * Other containers that it finds by name, and that it shares the network with, `NAME[:ALIAS]`.
   */
  const char *const *links;
  /**
   * Number of `links`.
   */
  size_t links_len;
  /**
   * Labels.
   */
  const treering_pair *labels;
  /**
   * Number of `labels`.
   */
  size_t labels_len;
  /**
   * The command cannot write to the tree.
   */
  bool read_only;
  /**
   * Remove the container when its command ends.
   */
  bool remove;
  /**
   * The signal that asks the command to stop, a name or a number. NULL for the image's, or TERM.
   */
  const char *stop_signal;
  /**
   * The only rung to run it by: `root`, `chroot`, `notify`, `ptrace`, `ids`, `paths` or `ptrace-paths`. NULL for the best that works.
   */
  const char *rung;
  /**
   * Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
   */
  const char *platform;
  /**
   * Number of threads for unpacking; 0 for one per processor.
   */
  size_t threads;
  /**
   * The command has a terminal, see `tty` of treering_run_options.
   */
  bool tty;
  /**
   * Standard input stays open for those that are attached.
   */
  bool interactive;
} treering_container_options;

/**
 * Options of a command; they count for this time alone.
 */
typedef struct {
  /**
   * The command. Empty for that of the container or the image.
   */
  const char *const *command;
  /**
   * Number of `command`.
   */
  size_t command_len;
  /**
   * More variables, `NAME=VALUE`; a name alone takes the variable away.
   */
  const char *const *environment;
  /**
   * Number of `environment`.
   */
  size_t environment_len;
  /**
   * User that it runs as: `USER[:GROUP]`. NULL for the container's or the image's.
   */
  const char *user;
  /**
   * The working directory. NULL for the container's or the image's working directory.
   */
  const char *directory;
  /**
   * Descriptor of its standard input. NULL for `/dev/null`. The command gets a copy, here and below; yours stays open.
   */
  const int32_t *stdin_fd;
  /**
   * Descriptor of its standard output. NULL for the output function, else `/dev/null`. A container's output is in its log as well,
   * and is written to the descriptor by a thread of the library: a pipe without a reader raises SIGPIPE, as always.
   */
  const int32_t *stdout_fd;
  /**
   * Descriptor of its standard error. NULL for the output function, else `/dev/null`.
   */
  const int32_t *stderr_fd;
  /**
   * Standard error goes where standard output goes, in the order in which both are written. `stderr_fd` then does not count.
   */
  bool merge;
  /**
   * The only rung to run it by: `root`, `chroot`, `notify`, `ptrace`, `ids`, `paths` or `ptrace-paths`. NULL for the best that works.
   */
  const char *rung;
  /**
   * Program that it is started with, `treering-init` or `treering`. Empty to look for it: in `$TREERING_INIT`, beside the library
   * and the program and in `../libexec/treering` from there, and as `treering` on PATH.
   */
  treering_slice helper;
  /**
   * The command has a terminal of its own for all three streams: what it writes is standard output, and `stdin_fd`, where it is given,
   * is passed on to it. A container's own command also has one where the container says so. The library never changes the terminal
   * of this process: to pass every key on, the caller puts that into raw mode.
   */
  bool tty;
  /**
   * Lines of the terminal; 0, with `columns` 0 too, for the kernel's default. See treering_process_resize().
   */
  uint16_t rows;
  /**
   * Characters in a line of the terminal.
   */
  uint16_t columns;
  /**
   * Of a container that runs by itself: standard input stays open for those that are attached.
   */
  bool interactive;
} treering_run_options;

/**
 * Takes what a command writes: `stream` is 1 for standard output, 2 for standard error. Returns 0 to go on; any other number ends the
 * command, and waiting for it gives TREERING_CALLBACK.
 *
 * Called from a thread of the library, never from two at once, until the command has ended: also after the function that was given it
 * has returned. Must neither free its process nor wait for its end. For exceptions see treering_write_fn.
 */
typedef int32_t (*treering_output_fn)(void *userdata, int32_t stream, const uint8_t *data, size_t len);

/**
 * The end of a command.
 */
typedef struct {
  /**
   * Whether it has ended; everything else is zero as long as it runs.
   */
  bool ended;
  /**
   * The exit code; 128 and the signal's number for a command that a signal ended.
   */
  int32_t exit_code;
  /**
   * Whether it did not end: the process was attached to a container and left it, and the command goes on.
   */
  bool detached;
} treering_process_result;

/**
 * The state of a container.
 */
typedef struct {
  /**
   * Its status.
   */
  treering_container_status status;
  /**
   * How its command ended: the exit code, or 128 and the number of a signal.
   */
  int32_t exit_code;
} treering_container_state;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the lower-case name of a status, as in `not-found`; `ok` for 0 and `internal` for numbers that are none. Never
 * NULL; static, never freed. Any thread.
 */
const char *treering_status_name(int32_t status);

/**
 * Frees an error. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_error_free(treering_error *error);

/**
 * Returns the status of the call that failed; TREERING_INVALID_ARGUMENT when `error` is no error object.
 */
treering_status treering_error_status(const treering_error *error);

/**
 * Returns the name of the kind of error, as treering_status_name() has it: `not-found`. NULL when `error` is no error
 * object.
 */
const char *treering_error_kind(const treering_error *error);

/**
 * Returns the operation that failed, a short verb phrase: `open store`. NULL when `error` is no error object.
 */
const char *treering_error_operation(const treering_error *error);

/**
 * Returns the message: what is wrong, without operation and path. NULL when `error` is no error object.
 */
const char *treering_error_message(const treering_error *error);

/**
 * Returns operation, path and message in one line, for people; bytes of the path that are not UTF-8 appear as `\xNN`. NULL
 * when `error` is no error object.
 */
const char *treering_error_text(const treering_error *error);

/**
 * Returns the hint: what the user can do, in the words of C: functions and members of option structures. NULL when nothing
 * is known.
 */
const char *treering_error_hint(const treering_error *error);

/**
 * Returns the hint in the words of the Go package, which is built on this library. NULL when nothing is known.
 */
const char *treering_error_hint_for_go(const treering_error *error);

/**
 * Returns the path (or reference, or digest) the operation failed at, as bytes; a NUL stands behind them. NULL when there
 * is none.
 *
 * @param len receives the number of bytes; may be NULL.
 */
const uint8_t *treering_error_path(const treering_error *error,
                                   size_t *len);

/**
 * Returns the cause number `n`, 0 for the nearest; NULL behind the last. At most 32 are kept.
 */
const char *treering_error_cause(const treering_error *error, size_t n);

/**
 * Returns the number by which a callback made the call fail with TREERING_CALLBACK; 0 for every other error.
 */
int32_t treering_error_callback_code(const treering_error *error);

/**
 * Returns the exit code of the command that was run and failed, with TREERING_COMMAND_FAILED: 128 and the number of the
 * signal for one that a signal ended. -1 for every other error.
 */
int32_t treering_error_exit_code(const treering_error *error);

/**
 * Returns the place in a text that is at fault, with TREERING_SYNTAX for one: whether there is one. `out` is left alone
 * otherwise.
 *
 * @param out may be NULL.
 * @param out_size sizeof(treering_location).
 */
bool treering_error_location(const treering_error *error,
                             treering_location *out,
                             size_t out_size);

/**
 * Returns the number of the binary interface of the library that is loaded. A program compares it with
 * TREERING_ABI_VERSION, which it was compiled with, and does not go on when they differ. Any thread.
 */
uint32_t treering_abi_version(void);

/**
 * Returns the version of the library, `MAJOR.MINOR.PATCH`. Static, never freed. Any thread.
 */
const char *treering_version(void);

/**
 * Reports what this machine can do, found out by trying, and what the store holds, as a JSON object with `version`, `abi`,
 * `platform`, `kernel`, `uid`, `processors`, `abilities` (each with `works` and `remark`) and, with a store, `store`.
 *
 * Leaves nothing behind. Any thread.
 *
 * @param store a store, to probe its filesystem; may be NULL.
 */
treering_status treering_info(const treering_store *store,
                              treering_bytes **out,
                              treering_error **err);

/**
 * Frees bytes. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
 */
treering_status treering_bytes_free(treering_bytes *bytes);

/**
 * Returns the first byte; lives as long as `bytes`. NULL when `bytes` is no such object.
 */
const uint8_t *treering_bytes_data(const treering_bytes *bytes);

/**
 * Returns how many bytes there are, the NUL behind them not counted; 0 when `bytes` is no such object.
 */
size_t treering_bytes_len(const treering_bytes *bytes);

/**
 * Makes a control: counters at 0, not cancelled.
 */
treering_status treering_control_new(treering_control **out, treering_error **err);

/**
 * Frees a control. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_control_free(treering_control *control);

/**
 * Asks every operation that has this control, now or later, to stop with TREERING_CANCELLED. Returns at once. Any thread.
 * Not for signal handlers: it takes a lock.
 */
treering_status treering_control_cancel(const treering_control *control,
                                        treering_error **err);

/**
 * Reads the counters. Any thread, as often as you like.
 *
 * @param out_size sizeof(treering_progress).
 */
treering_status treering_control_progress(const treering_control *control,
                                          treering_progress *out,
                                          size_t out_size,
                                          treering_error **err);

/**
 * Has a function called while an operation with this control runs, and once when it has ended, before it returns. Takes the
 * place of one that was set before; operations that run already keep that.
 *
 * @param progress see treering_progress_fn; NULL for none.
 * @param userdata handed to the callback.
 * @param finalizer called once with `userdata` when it will not be used any more: another function was set or the control
 * freed, and the last operation has ended; at once when an argument was refused or `progress` is NULL. May be NULL.
 * @param interval_ms milliseconds from one call to the next; 0 for 100.
 */
treering_status treering_control_set_progress(const treering_control *control,
                                              treering_progress_fn progress,
                                              void *userdata,
                                              treering_finalizer finalizer,
                                              uint32_t interval_ms,
                                              treering_error **err);

/**
 * Reads the next bytes. What they belong to was verified before, or is by the time of the end: an error is
 * TREERING_CORRUPT then, and what came is not to be used.
 *
 * @param buffer room for `capacity` bytes.
 * @param capacity how many bytes are wanted at most.
 * @param n receives how many were written, which may be fewer; 0 at the end, and when `capacity` is 0.
 */
treering_status treering_reader_read(treering_reader *reader,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *n,
                                     treering_error **err);

/**
 * Writes all that is left to a descriptor.
 *
 * @param fd where to write, from its present position on; stays open and yours.
 * @param control may be NULL.
 * @param n receives how many bytes were written; may be NULL.
 */
treering_status treering_reader_copy_fd(treering_reader *reader,
                                        int32_t fd,
                                        const treering_control *control,
                                        uint64_t *n,
                                        treering_error **err);

/**
 * Frees a reader. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_reader_free(treering_reader *reader);

/**
 * Starts a queue of events: operations that are given the control from now on put what happens into it, and
 * treering_control_next_event() takes it out. Takes the place of a queue from before. A queue that is full drops output, says so
 * with TREERING_EVENT_OUTPUT_DROPPED, and never holds an operation up.
 *
 * @param limit how many bytes the queue holds at most, about; 0 for 1 MiB.
 */
treering_status treering_control_enable_events(const treering_control *control,
                                               size_t limit,
                                               treering_error **err);

/**
 * Has a function called with what happens during the operations that are given the control from now on, instead of a queue:
 * treering_control_next_event() then finds nothing. Takes the place of a queue or a function from before; operations that run
 * already keep that.
 *
 * @param receive see treering_event_fn; NULL for none.
 * @param userdata handed to the callback.
 * @param finalizer called once with `userdata` when it will not be used any more: something else was set or the control freed,
 * and the last operation has ended; at once when an argument was refused or `receive` is NULL. May be NULL.
 */
treering_status treering_control_set_events(const treering_control *control,
                                            treering_event_fn receive,
                                            void *userdata,
                                            treering_finalizer finalizer,
                                            treering_error **err);

/**
 * Takes the next event out of the queue of a control. Any thread; each event comes once.
 *
 * @param wait_ms milliseconds to wait for one; 0 to return at once.
 * @param event receives the event, which is yours; NULL when none came in time, which is no error. The pointers in `out` live
 * as long as it. NULL is refused.
 * @param out receives what happened; left alone when none came.
 * @param out_size sizeof(treering_event_data).
 */
treering_status treering_control_next_event(const treering_control *control,
                                            uint32_t wait_ms,
                                            treering_event **event,
                                            treering_event_data *out,
                                            size_t out_size,
                                            treering_error **err);

/**
 * Frees an event. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_event_free(treering_event *event);

/**
 * Frees a report. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_report_free(treering_report *report);

/**
 * Returns how many notes there are; 0 when `report` is no report.
 */
size_t treering_report_len(const treering_report *report);

/**
 * Copies notes out.
 *
 * @param first the number of the first note wanted, from 0.
 * @param out room for `max` notes.
 * @param note_size sizeof(treering_note).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_report_get(const treering_report *report,
                                    size_t first,
                                    treering_note *out,
                                    size_t note_size,
                                    size_t max,
                                    size_t *n,
                                    treering_error **err);

/**
 * Opens the store at a path, creating whatever is missing; the directory gets mode 0700.
 *
 * Errors: TREERING_INVALID_ARGUMENT when the directory holds something else, TREERING_PERMISSION_DENIED when it is readable
 * by others and belongs to another user.
 *
 * @param options NULL for the defaults.
 */
treering_status treering_store_open(const uint8_t *path,
                                    size_t path_len,
                                    const treering_store_options *options,
                                    size_t options_size,
                                    treering_store **out,
                                    treering_error **err);

/**
 * Opens the user's store: `$TREERING_ROOT`, else `$XDG_DATA_HOME/treering`, else `$HOME/.local/share/treering`. Reads the
 * environment: no other thread may change it meanwhile (setenv(3)).
 */
treering_status treering_store_open_default(treering_store **out,
                                            treering_error **err);

/**
 * Closes a store. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. A call that is using it on
 * another thread goes on undisturbed.
 */
treering_status treering_store_free(treering_store *store);

/**
 * Returns the root directory of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_store_path(const treering_store *store,
                                   size_t *len);

/**
 * Returns the OCI image layout of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
 * Other tools read it as it is and must not write to it, since they take none of the store's locks.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_store_layout(const treering_store *store,
                                     size_t *len);

/**
 * Checks a store without changing it. What is wrong with the store is no error of this call: look at
 * treering_fsck_result::problems.
 *
 * @param level `structure`, `reachability` (and structure) or `bytes` (and both); NULL for `bytes`.
 * @param control may be NULL.
 * @param out_size sizeof(treering_fsck_result).
 * @param json receives the whole report: `problems` (each `kind`, `subject`, `message`), `blobs`, `bytes`; may be NULL.
 */
treering_status treering_store_fsck(const treering_store *store,
                                    const char *level,
                                    const treering_control *control,
                                    treering_fsck_result *out,
                                    size_t out_size,
                                    treering_bytes **json,
                                    treering_error **err);

/**
 * Removes what nothing needs: blobs no image and no tree refers to, and temporary files of dead writers. Nothing a live
 * writer needs can go.
 *
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_prune_result).
 * @param json receives what went: `images`, `blobs`, `layers` (lists of digests), `records`, `leftovers`, `bytes`, `untagged` (names),
 * `forgotten` (where trees were); may be NULL.
 */
treering_status treering_store_prune(const treering_store *store,
                                     const treering_prune_options *options,
                                     size_t options_size,
                                     const treering_control *control,
                                     treering_prune_result *out,
                                     size_t out_size,
                                     treering_bytes **json,
                                     treering_error **err);

/**
 * Reports what takes the space, as a JSON object: `images` (each `names`, `digest`, `size`, `shared`, `unique`, `layers`),
 * `blobs`, `blob_bytes`, `reclaimable`, `trees`, `layer_bytes` (of which `index_bytes`), `cache_records`, `cache_bytes`,
 * `tmp_bytes`. Sizes are in bytes.
 *
 * @param control may be NULL.
 */
treering_status treering_store_usage(const treering_store *store,
                                     const treering_control *control,
                                     treering_bytes **out,
                                     treering_error **err);

/**
 * Lists the images of a store.
 */
treering_status treering_refs_list(const treering_store *store, treering_refs **out, treering_error **err);

/**
 * Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_refs_free(treering_refs *refs);

/**
 * Returns how many entries a list has; 0 when `refs` is no list.
 */
size_t treering_refs_len(const treering_refs *refs);

/**
 * Copies entries out.
 *
 * @param first the number of the first entry wanted, from 0.
 * @param out room for `max` entries.
 * @param ref_size sizeof(treering_ref).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_refs_get(const treering_refs *refs,
                                  size_t first,
                                  treering_ref *out,
                                  size_t ref_size,
                                  size_t max,
                                  size_t *n,
                                  treering_error **err);

/**
 * Finds what a reference stands for: a name (`app`, `app:v1`, `docker.io/library/app:v1`), `NAME@DIGEST`, a digest, or at
 * least 4 hex digits of one. Errors: TREERING_NOT_FOUND; TREERING_INVALID_ARGUMENT when a prefix fits several images.
 *
 * @param out_size sizeof(treering_resolved).
 */
treering_status treering_refs_resolve(const treering_store *store,
                                      const char *reference,
                                      treering_resolved *out,
                                      size_t out_size,
                                      treering_error **err);

/**
 * Gives an image a name, moving the name when another image has it.
 *
 * @param reference the image, as treering_refs_resolve() finds it.
 * @param name the new name; `:latest` is added where it has no tag.
 */
treering_status treering_refs_tag(const treering_store *store,
                                  const char *reference,
                                  const char *name,
                                  treering_error **err);

/**
 * Takes a name away; the image stays until the next prune. TREERING_NOT_FOUND when no image has the name.
 */
treering_status treering_refs_untag(const treering_store *store, const char *name, treering_error **err);

/**
 * Takes all names of an image away, and its entry in the index; its blobs stay until the next prune.
 *
 * @param reference the image, as treering_refs_resolve() finds it.
 */
treering_status treering_refs_remove(const treering_store *store,
                                     const char *reference,
                                     treering_error **err);

/**
 * Opens an image.
 *
 * Errors: TREERING_NOT_FOUND when there is no such image or nothing for the platform; TREERING_CORRUPT when a document is
 * damaged or contradicts itself; TREERING_UNSUPPORTED for an artifact that is no image.
 *
 * @param reference as treering_refs_resolve() takes it.
 * @param platform `os/arch[/variant]`, for choosing from a multi-platform image; NULL for this machine's.
 */
treering_status treering_image_open(const treering_store *store,
                                    const char *reference,
                                    const char *platform,
                                    treering_image **out,
                                    treering_error **err);

/**
 * Gives the merged layers of an image as a snapshot with the digest of every file. Reading all layers for the digests takes a
 * while the first time; the store keeps them. treering_image_list() and treering_image_stat() need none.
 *
 * Errors: TREERING_CORRUPT and TREERING_LIMIT for what the layers are.
 *
 * @param control may be NULL.
 */
treering_status treering_image_contents(const treering_image *image,
                                        const treering_control *control,
                                        treering_snapshot **out,
                                        treering_error **err);

/**
 * Frees an image. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_image_free(treering_image *image);

/**
 * Returns the image id: the digest of its configuration. An empty digest when `image` is no image.
 */
treering_digest treering_image_id(const treering_image *image);

/**
 * Returns the digest of its manifest. An empty digest when `image` is no image.
 */
treering_digest treering_image_digest(const treering_image *image);

/**
 * Returns the platform it is for, `os/arch[/variant]`; lives as long as the image. NULL when `image` is no image.
 */
const char *treering_image_platform(const treering_image *image);

/**
 * Returns the size of manifest, configuration and layers as stored (compressed), in bytes; 0 when `image` is no image.
 */
uint64_t treering_image_size(const treering_image *image);

/**
 * Returns the manifest, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_image_manifest(const treering_image *image,
                                       size_t *len);

/**
 * Returns the configuration, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_image_config(const treering_image *image,
                                     size_t *len);

/**
 * Gives the history, newest row first: a JSON list of objects with `id`, `created`, `created_by`, `size`, `diff_size`,
 * `diff_id`, `comment`.
 */
treering_status treering_image_history(const treering_image *image,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * Reports what each step of an image added, changed and wasted, the largest files and packages, and what could be smaller.
 * Reads every layer once and unpacks nothing.
 *
 * Errors: TREERING_NOT_FOUND when the store lacks a layer; TREERING_CORRUPT and TREERING_LIMIT for what the layers are.
 *
 * @param html whether it is a page of HTML that needs nothing else; else a JSON object with `name`, `digest`, `image_id`,
 * `platform`, `created`, `size`, `stored`, `visible`, `wasted`, `steps`, `files`, `wasted_files`, `packages`, `advice`.
 * @param control may be NULL.
 */
treering_status treering_image_report(const treering_image *image,
                                      bool html,
                                      const treering_control *control,
                                      treering_bytes **out,
                                      treering_error **err);

/**
 * Gives the JSON object that `docker inspect` prints for an image.
 */
treering_status treering_image_inspect(const treering_image *image,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * Returns how many layers it has; 0 when `image` is no image.
 */
size_t treering_image_layer_count(const treering_image *image);

/**
 * Copies layers out, base first.
 *
 * @param first the number of the first layer wanted, from 0.
 * @param out room for `max` layers.
 * @param layer_size sizeof(treering_layer).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_image_layers(const treering_image *image,
                                      size_t first,
                                      treering_layer *out,
                                      size_t layer_size,
                                      size_t max,
                                      size_t *n,
                                      treering_error **err);

/**
 * Commits a directory: compares it with its base, writes what changed as a layer, and a configuration and manifest for base
 * and layer together. The directory is then bound to the new image, so that the next commit or comparison reads only what
 * changed since. Nothing is visible in the store before everything is there; an error leaves it as it was.
 *
 * Errors: TREERING_CHANGED when a file changes while it is read; everything reading and writing can meet.
 *
 * @param reference the name the image gets; NULL for none.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_commit_result).
 * @param report receives what was left out; may be NULL.
 */
treering_status treering_commit(const treering_store *store,
                                const uint8_t *tree,
                                size_t tree_len,
                                const char *reference,
                                const treering_commit_options *options,
                                size_t options_size,
                                const treering_control *control,
                                treering_commit_result *out,
                                size_t out_size,
                                treering_report **report,
                                treering_error **err);

/**
 * Unpacks an image: its tree becomes a directory, which must not exist or be empty. The directory is bound to the image in
 * the store, so that treering_commit() and treering_diff_tree() find it. After an error there is no half-unpacked tree.
 *
 * Errors: TREERING_NOT_FOUND, TREERING_ALREADY_EXISTS, TREERING_CORRUPT when a layer is not what the image says,
 * TREERING_LOSS where asked for, whatever writing can meet.
 *
 * @param reference the image, as treering_refs_resolve() finds it.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_unpack_result).
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_unpack(const treering_store *store,
                                const char *reference,
                                const uint8_t *dir,
                                size_t dir_len,
                                const treering_apply_options *options,
                                size_t options_size,
                                const treering_control *control,
                                treering_unpack_result *out,
                                size_t out_size,
                                treering_report **report,
                                treering_error **err);

/**
 * Loads a snapshot that was saved: the file is read whole. TREERING_CORRUPT when it is none.
 */
treering_status treering_snapshot_load(const uint8_t *path,
                                       size_t path_len,
                                       treering_snapshot **out,
                                       treering_error **err);

/**
 * Makes a snapshot out of the bytes that treering_snapshot_bytes() gave of one. They are copied. TREERING_CORRUPT when
 * they are none.
 */
treering_status treering_snapshot_from_bytes(const uint8_t *data,
                                             size_t len,
                                             treering_snapshot **out,
                                             treering_error **err);

/**
 * Saves a snapshot. A regular file appears, or is replaced, once all is written: a crash leaves the old file or the new one, and the new
 * one has the mode of the old one. A link is followed; a pipe or a device, and an open file by its name in /dev/fd, is written to as it is.
 */
treering_status treering_snapshot_save(const treering_snapshot *snapshot,
                                       const uint8_t *path,
                                       size_t path_len,
                                       treering_error **err);

/**
 * Frees a snapshot. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. Walks and diffs made from
 * it stay usable.
 */
treering_status treering_snapshot_free(treering_snapshot *snapshot);

/**
 * Returns how many entries it has, the root included; 0 when `snapshot` is no snapshot.
 */
uint32_t treering_snapshot_len(const treering_snapshot *snapshot);

/**
 * Returns the bytes as they are saved; they live as long as the snapshot. NULL when `snapshot` is no snapshot.
 *
 * @param len receives the number of bytes; may be NULL.
 */
const uint8_t *treering_snapshot_bytes(const treering_snapshot *snapshot,
                                       size_t *len);

/**
 * Finds the entry at a path, without following symbolic links. TREERING_NOT_FOUND when there is none.
 *
 * @param path below the root, components joined by slashes; slashes at its ends and several in a row count for nothing. Empty
 * (NULL, 0) for the root itself. treering_entry::path is this very pointer.
 * @param out_size sizeof(treering_entry).
 */
treering_status treering_snapshot_lookup(const treering_snapshot *snapshot,
                                         const uint8_t *path,
                                         size_t path_len,
                                         treering_entry *out,
                                         size_t out_size,
                                         treering_error **err);

/**
 * Copies extended attributes of an entry out, sorted by name.
 *
 * @param index the number of the entry; TREERING_INVALID_ARGUMENT when it has none of this number.
 * @param first the number of the first attribute wanted, from 0.
 * @param out room for `max` attributes.
 * @param xattr_size sizeof(treering_xattr).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_snapshot_xattrs(const treering_snapshot *snapshot,
                                         uint32_t index,
                                         size_t first,
                                         treering_xattr *out,
                                         size_t xattr_size,
                                         size_t max,
                                         size_t *n,
                                         treering_error **err);

/**
 * Lists everything in a tree.
 *
 * Errors: TREERING_CHANGED when something vanishes meanwhile, and whatever reading a directory can meet; nothing is left out
 * silently.
 *
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param report receives what was left out (sockets; mount points where asked); may be NULL.
 */
treering_status treering_snapshot_scan(const uint8_t *tree,
                                       size_t tree_len,
                                       const treering_scan_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_snapshot **out,
                                       treering_report **report,
                                       treering_error **err);

/**
 * Starts a walk over a snapshot.
 */
treering_status treering_snapshot_walk(const treering_snapshot *snapshot,
                                       treering_walk **out,
                                       treering_error **err);

/**
 * Gives the next entries.
 *
 * @param out room for `max` entries; their paths live until the next call with this walk, their targets as long as it.
 * @param entry_size sizeof(treering_entry).
 * @param n receives how many were written; 0 at the end.
 */
treering_status treering_walk_next(treering_walk *walk,
                                   treering_entry *out,
                                   size_t entry_size,
                                   size_t max,
                                   size_t *n,
                                   treering_error **err);

/**
 * Frees a walk. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_walk_free(treering_walk *walk);

/**
 * Finds an entry of an image, symbolic links followed inside the image: absolute targets begin at its root, and `..` does not
 * leave it. The first time this takes as long as reading all layers; the store keeps the list.
 *
 * Errors: TREERING_NOT_FOUND when there is none; TREERING_INVALID_ARGUMENT for a component that is no directory, and for too many
 * links.
 *
 * @param path below the root of the image; empty (NULL, 0) for the root itself. treering_entry::path is this very pointer, its
 * target lives as long as the image, and its `index` is the one it has in treering_image_contents().
 * @param follow whether a symbolic link that the path ends with is followed as well.
 * @param control may be NULL.
 * @param out_size sizeof(treering_entry).
 */
treering_status treering_image_stat(const treering_image *image,
                                    const uint8_t *path,
                                    size_t path_len,
                                    bool follow,
                                    const treering_control *control,
                                    treering_entry *out,
                                    size_t out_size,
                                    treering_error **err);

/**
 * Lists a directory of an image, without what is below its directories. Symbolic links are followed as by
 * treering_image_stat().
 *
 * Errors: those of treering_image_stat(); TREERING_INVALID_ARGUMENT for what is no directory.
 *
 * @param path below the root of the image; empty (NULL, 0) for the root itself.
 * @param control may be NULL.
 * @param out receives what gives the entries, by treering_walk_next(), in byte order of their names; their paths are those from
 * the root of the image.
 */
treering_status treering_image_list(const treering_image *image,
                                    const uint8_t *path,
                                    size_t path_len,
                                    const treering_control *control,
                                    treering_walk **out,
                                    treering_error **err);

/**
 * Opens a file of an image, whichever layer holds it, symbolic links followed as by treering_image_stat(). What is given was
 * verified, piece by piece: it is what the layer with the DiffID of the configuration has.
 *
 * Errors: those of treering_image_stat(); TREERING_INVALID_ARGUMENT for what is no regular file; TREERING_CORRUPT when the image
 * does not have the content that its list promises.
 *
 * @param path below the root of the image.
 * @param control may be NULL; cancelling it ends what is read later as well.
 */
treering_status treering_image_file(const treering_image *image,
                                    const uint8_t *path,
                                    size_t path_len,
                                    const treering_control *control,
                                    treering_reader **out,
                                    treering_error **err);

/**
 * Compares a directory with its base: what `docker diff` shows of a container.
 *
 * @param store where the base is and what is known of the tree; NULL for none, everything is new then.
 * @param base `auto` (also for NULL), `scratch` or a reference, as treering_commit_options has it.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param report receives what cannot be in a layer; may be NULL.
 */
treering_status treering_diff_tree(const treering_store *store,
                                   const uint8_t *tree,
                                   size_t tree_len,
                                   const char *base,
                                   const treering_diff_options *options,
                                   size_t options_size,
                                   const treering_control *control,
                                   treering_diff **out,
                                   treering_report **report,
                                   treering_error **err);

/**
 * Compares two directories, reading the content of files with the same metadata.
 *
 * @param store what is known of the trees; may be NULL.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param report receives what cannot be in a layer; may be NULL.
 */
treering_status treering_diff_trees(const treering_store *store,
                                    const uint8_t *before,
                                    size_t before_len,
                                    const uint8_t *after,
                                    size_t after_len,
                                    const treering_diff_options *options,
                                    size_t options_size,
                                    const treering_control *control,
                                    treering_diff **out,
                                    treering_report **report,
                                    treering_error **err);

/**
 * Compares two snapshots by what they hold. Where only content could decide, the entry counts as changed, with
 * TREERING_REASON_SUSPECT.
 *
 * @param before NULL for nothing: everything is added then.
 * @param tree the directory `after` is of, from which a layer can then be written; (NULL, 0) for none.
 * @param options NULL for the defaults.
 */
treering_status treering_diff_snapshots(const treering_snapshot *before,
                                        const treering_snapshot *after,
                                        const uint8_t *tree,
                                        size_t tree_len,
                                        const treering_diff_options *options,
                                        size_t options_size,
                                        treering_diff **out,
                                        treering_error **err);

/**
 * Compares two images by their layers' entries and the digests of their files.
 *
 * @param before the reference of an image; NULL for nothing: everything is added then.
 * @param after the reference of an image.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 */
treering_status treering_diff_images(const treering_store *store,
                                     const char *before,
                                     const char *after,
                                     const treering_diff_options *options,
                                     size_t options_size,
                                     const treering_control *control,
                                     treering_diff **out,
                                     treering_error **err);

/**
 * Compares an overlay's upper directory with its lower directories, without mounting it.
 *
 * @param store what is known of the owners in the lower directories; may be NULL.
 * @param lowers the lower directories, topmost first; with none, everything in the upper one counts as added.
 * @param options NULL for the defaults; the base's platform and the like do not matter here. Owners are by default those
 * on disk for root, and `root` for anybody else.
 * @param control may be NULL.
 * @param report receives what cannot be in a layer; may be NULL.
 */
treering_status treering_diff_overlay(const treering_store *store,
                                      const uint8_t *upper,
                                      size_t upper_len,
                                      const treering_slice *lowers,
                                      size_t lowers_len,
                                      const treering_diff_options *options,
                                      size_t options_size,
                                      const treering_control *control,
                                      treering_diff **out,
                                      treering_report **report,
                                      treering_error **err);

/**
 * Frees a diff. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_diff_free(treering_diff *diff);

/**
 * Returns how many changes there are; 0 when `diff` is no diff.
 */
size_t treering_diff_len(const treering_diff *diff);

/**
 * Gives the next changes, in byte order of their paths. Neither the root itself is among them, nor the old names of a file
 * that only gained one, as `docker diff` has it; a layer holds them.
 *
 * @param out room for `max` changes; their paths live until the next call of this function with this diff.
 * @param change_size sizeof(treering_change).
 * @param n receives how many were written; 0 at the end.
 */
treering_status treering_diff_next(treering_diff *diff,
                                   treering_change *out,
                                   size_t change_size,
                                   size_t max,
                                   size_t *n,
                                   treering_error **err);

/**
 * Starts again: the next call of treering_diff_next() gives the first changes.
 */
treering_status treering_diff_rewind(treering_diff *diff, treering_error **err);

/**
 * Gives the changes in numbers.
 *
 * @param out_size sizeof(treering_diff_stat_result).
 */
treering_status treering_diff_stat(const treering_diff *diff,
                                   treering_diff_stat_result *out,
                                   size_t out_size,
                                   treering_error **err);

/**
 * Gives the snapshot that was compared with, as a handle of its own. TREERING_NOT_FOUND when it was nothing.
 */
treering_status treering_diff_old_snapshot(const treering_diff *diff,
                                           treering_snapshot **out,
                                           treering_error **err);

/**
 * Gives the snapshot of the newer tree, as a handle of its own.
 */
treering_status treering_diff_new_snapshot(const treering_diff *diff,
                                           treering_snapshot **out,
                                           treering_error **err);

/**
 * Makes an image out of another one, without a directory: other layers, another base, another configuration. Layers that stay are not read.
 * The old image stays as it is, and nothing has a name after an error.
 *
 * Errors: TREERING_INVALID_ARGUMENT when there are fewer layers than are to go, and when the image is not built on the base that is to be
 * replaced; TREERING_LIMIT for an appended layer beyond the caps.
 *
 * @param reference the image, as treering_refs_resolve() finds it.
 * @param name the name of the new image; NULL for none.
 * @param options NULL for the defaults: the image gets a name more.
 * @param control may be NULL.
 * @param out_size sizeof(treering_edit_result).
 */
treering_status treering_edit(const treering_store *store,
                              const char *reference,
                              const char *name,
                              const treering_edit_options *options,
                              size_t options_size,
                              const treering_control *control,
                              treering_edit_result *out,
                              size_t out_size,
                              treering_error **err);

/**
 * Copies a directory that was unpacked or committed, with its owners and its record in the store, to one that must not
 * exist or be empty: owners, image and changes are the same, and the next commit or comparison of the copy reads only what
 * changes. Blocks are shared where the filesystem can. After an error there is no half of a copy.
 *
 * Errors: TREERING_NOT_FOUND when the store has no record of the tree, TREERING_CHANGED when something changes in it
 * meanwhile.
 *
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_clone_result).
 * @param report receives what was left out or lost; may be NULL.
 */
treering_status treering_clone(const treering_store *store,
                               const uint8_t *tree,
                               size_t tree_len,
                               const uint8_t *dir,
                               size_t dir_len,
                               const treering_clone_options *options,
                               size_t options_size,
                               const treering_control *control,
                               treering_clone_result *out,
                               size_t out_size,
                               treering_report **report,
                               treering_error **err);

/**
 * Makes a directory what an image says, in place: only what differs is touched. The directory came from whatever image; an empty
 * or missing one is unpacked to. It is bound to the image then, so that the next commit or comparison is one with it.
 *
 * After an error treering_commit() and the comparisons refuse the directory until another checkout, of any image, has
 * finished.
 *
 * Errors: TREERING_IN_USE when the directory has changes that are in no image, of which the message lists the first, and
 * `discard` is not set; TREERING_NOT_FOUND when the store has no record of the directory; TREERING_UNSUPPORTED when
 * something is mounted in it; TREERING_BUSY when another checkout or commit is at work in it; TREERING_LOSS where asked
 * for.
 *
 * @param reference the image, as treering_refs_resolve() finds it; `-` for the one the directory was before its present one.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_checkout_result).
 * @param changes receives the paths that are, or would be, different; empty when the directory was empty. May be NULL.
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_checkout(const treering_store *store,
                                  const char *reference,
                                  const uint8_t *dir,
                                  size_t dir_len,
                                  const treering_checkout_options *options,
                                  size_t options_size,
                                  const treering_control *control,
                                  treering_checkout_result *out,
                                  size_t out_size,
                                  treering_changes **changes,
                                  treering_report **report,
                                  treering_error **err);

/**
 * Returns how many paths there are; 0 when `changes` is no such list.
 */
size_t treering_changes_len(const treering_changes *changes);

/**
 * Copies paths out, with `kind`; all other members are zero or TREERING_NO_ENTRY.
 *
 * @param first the number of the first path wanted, from 0.
 * @param out room for `max` changes; their paths live as long as the list.
 * @param change_size sizeof(treering_change).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_changes_get(const treering_changes *changes,
                                     size_t first,
                                     treering_change *out,
                                     size_t change_size,
                                     size_t max,
                                     size_t *n,
                                     treering_error **err);

/**
 * Frees a list of changes. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_changes_free(treering_changes *changes);

/**
 * Writes the layer that makes the old tree of a diff into the new one, from the files of the new tree.
 *
 * Errors: TREERING_CHANGED when a file is not as it was compared; TREERING_UNSUPPORTED when the diff has no directory (of
 * images, or of snapshots without a tree). After an error what was written is a useless prefix.
 *
 * @param options NULL for the defaults.
 * @param fd where to write, from its present position on; stays open and yours. Not flushed to disk. A pipe without a reader
 * raises SIGPIPE, as always, unless your program ignores it.
 * @param control may be NULL.
 * @param out_size sizeof(treering_layer_result).
 */
treering_status treering_layer_write_fd(const treering_diff *diff,
                                        const treering_layer_options *options,
                                        size_t options_size,
                                        int32_t fd,
                                        const treering_control *control,
                                        treering_layer_result *out,
                                        size_t out_size,
                                        treering_error **err);

/**
 * Does what treering_layer_write_fd() does, to a callback.
 *
 * @param write see treering_write_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_layer_write_callback(const treering_diff *diff,
                                              const treering_layer_options *options,
                                              size_t options_size,
                                              treering_write_fn write,
                                              void *userdata,
                                              treering_finalizer finalizer,
                                              const treering_control *control,
                                              treering_layer_result *out,
                                              size_t out_size,
                                              treering_error **err);

/**
 * Applies a layer, compressed or not, to a directory, which is made when it is not there. Whiteouts remove what is there.
 *
 * Whatever the disk does not take of owners, permissions, devices and attributes goes where treering_unpack() put it: into
 * the store, when that has a record of the directory. Nothing keeps it otherwise, see treering_apply_result::unkept.
 *
 * Errors: TREERING_CORRUPT, TREERING_LIMIT, TREERING_UNSUPPORTED for what the layer is; whatever writing can meet. After an
 * error the directory is in no defined state.
 *
 * @param store what is known of the directory; NULL for none.
 * @param fd where to read, from its present position to its end; stays open and yours.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_apply_result).
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_layer_apply_fd(const treering_store *store,
                                        int32_t fd,
                                        const uint8_t *dir,
                                        size_t dir_len,
                                        const treering_apply_options *options,
                                        size_t options_size,
                                        const treering_control *control,
                                        treering_apply_result *out,
                                        size_t out_size,
                                        treering_report **report,
                                        treering_error **err);

/**
 * Does what treering_layer_apply_fd() does, from a callback.
 *
 * @param read see treering_read_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_layer_apply_callback(const treering_store *store,
                                              treering_read_fn read,
                                              void *userdata,
                                              treering_finalizer finalizer,
                                              const uint8_t *dir,
                                              size_t dir_len,
                                              const treering_apply_options *options,
                                              size_t options_size,
                                              const treering_control *control,
                                              treering_apply_result *out,
                                              size_t out_size,
                                              treering_report **report,
                                              treering_error **err);

/**
 * Lists what is in a layer, compressed or not, without putting it anywhere.
 *
 * Errors: TREERING_CORRUPT, TREERING_LIMIT (also for a list that takes more memory than it may), TREERING_UNSUPPORTED for what
 * the layer is.
 *
 * @param fd where to read, from its present position to its end; stays open and yours.
 * @param control may be NULL.
 */
treering_status treering_layer_list_fd(int32_t fd,
                                       const treering_layer_list_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_layer_list **out,
                                       treering_error **err);

/**
 * Does what treering_layer_list_fd() does, from a callback.
 *
 * @param read see treering_read_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_layer_list_callback(treering_read_fn read,
                                             void *userdata,
                                             treering_finalizer finalizer,
                                             const treering_layer_list_options *options,
                                             size_t options_size,
                                             const treering_control *control,
                                             treering_layer_list **out,
                                             treering_error **err);

/**
 * Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_layer_list_free(treering_layer_list *list);

/**
 * Returns how many entries a list has; 0 when `list` is no list.
 */
size_t treering_layer_list_len(const treering_layer_list *list);

/**
 * Copies entries out.
 *
 * @param first the number of the first entry wanted, from 0.
 * @param out room for `max` entries.
 * @param entry_size sizeof(treering_layer_entry).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_layer_list_get(const treering_layer_list *list,
                                        size_t first,
                                        treering_layer_entry *out,
                                        size_t entry_size,
                                        size_t max,
                                        size_t *n,
                                        treering_error **err);

/**
 * Copies the extended attributes of an entry out.
 *
 * @param index the number of the entry, from 0.
 * @param first the number of the first attribute wanted, from 0.
 * @param out room for `max` attributes; their pointers live as long as the list.
 * @param xattr_size sizeof(treering_xattr).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_layer_list_xattrs(const treering_layer_list *list,
                                           size_t index,
                                           size_t first,
                                           treering_xattr *out,
                                           size_t xattr_size,
                                           size_t max,
                                           size_t *n,
                                           treering_error **err);

/**
 * Opens a layer of an image as a stream. When the end is reached it was verified: TREERING_CORRUPT when it is not what manifest
 * and configuration say.
 *
 * @param index the number of the layer, from 0, base first.
 * @param tar whether the tar inside is wanted, decompressed; else the blob as it is stored.
 * @param control may be NULL; cancelling it ends what is read later as well, of a tar.
 */
treering_status treering_image_layer(const treering_image *image,
                                     size_t index,
                                     bool tar,
                                     const treering_control *control,
                                     treering_reader **out,
                                     treering_error **err);

/**
 * Opens a layer of an image to read its entries. When the end is reached it was verified, as by treering_image_layer().
 *
 * @param index the number of the layer, from 0, base first.
 * @param options NULL for the defaults; `max_ratio` and `max_memory` are of no matter here.
 * @param control may be NULL; cancelling it ends what is read later as well.
 */
treering_status treering_layer_files_image(const treering_image *image,
                                           size_t index,
                                           const treering_layer_list_options *options,
                                           size_t options_size,
                                           const treering_control *control,
                                           treering_layer_files **out,
                                           treering_error **err);

/**
 * Opens a layer, compressed or not, to read its entries.
 *
 * @param fd where to read, from its present position on; stays open and yours, and is read from until the handle is freed.
 * @param options NULL for the defaults; `max_memory` is of no matter here.
 * @param control may be NULL; cancelling it ends what is read later as well.
 */
treering_status treering_layer_files_fd(int32_t fd,
                                        const treering_layer_list_options *options,
                                        size_t options_size,
                                        const treering_control *control,
                                        treering_layer_files **out,
                                        treering_error **err);

/**
 * Does what treering_layer_files_fd() does, from a callback.
 *
 * @param read see treering_read_fn; it is called until the handle is freed, also between calls with the handle.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer, but called when the handle is freed; may be NULL.
 */
treering_status treering_layer_files_callback(treering_read_fn read,
                                              void *userdata,
                                              treering_finalizer finalizer,
                                              const treering_layer_list_options *options,
                                              size_t options_size,
                                              const treering_control *control,
                                              treering_layer_files **out,
                                              treering_error **err);

/**
 * Goes to the next entry. What was not read of the content of the one before is passed over.
 *
 * Errors: those of treering_layer_list_fd().
 *
 * @param out receives the entry; its pointers live until the next call of this function. Left alone at the end.
 * @param out_size sizeof(treering_layer_entry).
 * @param more receives whether there was one; false at the end.
 */
treering_status treering_layer_files_next(treering_layer_files *files,
                                          treering_layer_entry *out,
                                          size_t out_size,
                                          bool *more,
                                          treering_error **err);

/**
 * Copies the extended attributes of the present entry out; none before the first and behind the last.
 *
 * @param first the number of the first attribute wanted, from 0.
 * @param out room for `max` attributes; their pointers live until the next call of treering_layer_files_next().
 * @param xattr_size sizeof(treering_xattr).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_layer_files_xattrs(treering_layer_files *files,
                                            size_t first,
                                            treering_xattr *out,
                                            size_t xattr_size,
                                            size_t max,
                                            size_t *n,
                                            treering_error **err);

/**
 * Reads the next bytes of the content of the present entry, holes as zeros.
 *
 * @param buffer room for `capacity` bytes.
 * @param capacity how many bytes are wanted at most.
 * @param n receives how many were written, which may be fewer; 0 at the end of the content, and when `capacity` is 0.
 */
treering_status treering_layer_files_read(treering_layer_files *files,
                                          uint8_t *buffer,
                                          size_t capacity,
                                          size_t *n,
                                          treering_error **err);

/**
 * Frees it. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. Waits for a read of a callback that is
 * under way.
 */
treering_status treering_layer_files_free(treering_layer_files *files);

/**
 * Writes images as one archive, which `docker load`, podman and skopeo read. The same images make the same bytes.
 *
 * @param references the images, as treering_refs_resolve() finds them: an array of `references_len` texts. One that is a
 * name becomes the image's name in the archive.
 * @param options NULL for the defaults.
 * @param fd where to write, from its present position on; stays open and yours.
 * @param control may be NULL.
 */
treering_status treering_archive_save_fd(const treering_store *store,
                                         const char *const *references,
                                         size_t references_len,
                                         const treering_save_options *options,
                                         size_t options_size,
                                         int32_t fd,
                                         const treering_control *control,
                                         treering_error **err);

/**
 * Does what treering_archive_save_fd() does, to a callback.
 *
 * @param write see treering_write_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_archive_save_callback(const treering_store *store,
                                               const char *const *references,
                                               size_t references_len,
                                               const treering_save_options *options,
                                               size_t options_size,
                                               treering_write_fn write,
                                               void *userdata,
                                               treering_finalizer finalizer,
                                               const treering_control *control,
                                               treering_error **err);

/**
 * Loads every image of an archive: what `docker save`, podman, skopeo, buildx or treering_archive_save_fd() wrote, compressed
 * or not. Everything is checked before the first name is given; nothing is visible in the store after an error.
 *
 * Errors: TREERING_CORRUPT for an archive that contradicts itself, TREERING_LIMIT over the caps, TREERING_ALREADY_EXISTS as
 * treering_load_options::names says.
 *
 * @param fd where to read, from its present position to its end; stays open and yours.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 */
treering_status treering_archive_load_fd(const treering_store *store,
                                         int32_t fd,
                                         const treering_load_options *options,
                                         size_t options_size,
                                         const treering_control *control,
                                         treering_loaded **out,
                                         treering_error **err);

/**
 * Does what treering_archive_load_fd() does, from a callback.
 *
 * @param read see treering_read_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_archive_load_callback(const treering_store *store,
                                               treering_read_fn read,
                                               void *userdata,
                                               treering_finalizer finalizer,
                                               const treering_load_options *options,
                                               size_t options_size,
                                               const treering_control *control,
                                               treering_loaded **out,
                                               treering_error **err);

/**
 * Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_loaded_free(treering_loaded *loaded);

/**
 * Returns how many images a list has; 0 when `loaded` is no list.
 */
size_t treering_loaded_len(const treering_loaded *loaded);

/**
 * Copies images out.
 *
 * @param first the number of the first image wanted, from 0.
 * @param out room for `max` images.
 * @param image_size sizeof(treering_loaded_image).
 * @param n receives how many were written; 0 behind the last.
 */
treering_status treering_loaded_get(const treering_loaded *loaded,
                                    size_t first,
                                    treering_loaded_image *out,
                                    size_t image_size,
                                    size_t max,
                                    size_t *n,
                                    treering_error **err);

/**
 * Makes an image of a tar of a filesystem, compressed or not, as `docker import` does. Nothing is visible in the store after
 * an error.
 *
 * @param fd where to read, from its present position to its end; stays open and yours.
 * @param reference the name the image gets; NULL for none.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_commit_result).
 */
treering_status treering_archive_import_fd(const treering_store *store,
                                           int32_t fd,
                                           const char *reference,
                                           const treering_import_options *options,
                                           size_t options_size,
                                           const treering_control *control,
                                           treering_commit_result *out,
                                           size_t out_size,
                                           treering_error **err);

/**
 * Does what treering_archive_import_fd() does, from a callback.
 *
 * @param read see treering_read_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_archive_import_callback(const treering_store *store,
                                                 treering_read_fn read,
                                                 void *userdata,
                                                 treering_finalizer finalizer,
                                                 const char *reference,
                                                 const treering_import_options *options,
                                                 size_t options_size,
                                                 const treering_control *control,
                                                 treering_commit_result *out,
                                                 size_t out_size,
                                                 treering_error **err);

/**
 * Writes a filesystem as one tar, as `docker export` does: that of an image, with its layers merged, or that of a directory.
 * The same content gives the same bytes.
 *
 * @param reference the image; NULL for a directory.
 * @param tree the directory; (NULL, 0) for an image. Exactly one of the two must be given.
 * @param options NULL for the defaults.
 * @param fd where to write, from its present position on; stays open and yours.
 * @param control may be NULL.
 */
treering_status treering_archive_export_fd(const treering_store *store,
                                           const char *reference,
                                           const uint8_t *tree,
                                           size_t tree_len,
                                           const treering_export_options *options,
                                           size_t options_size,
                                           int32_t fd,
                                           const treering_control *control,
                                           treering_error **err);

/**
 * Does what treering_archive_export_fd() does, to a callback.
 *
 * @param write see treering_write_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_archive_export_callback(const treering_store *store,
                                                 const char *reference,
                                                 const uint8_t *tree,
                                                 size_t tree_len,
                                                 const treering_export_options *options,
                                                 size_t options_size,
                                                 treering_write_fn write,
                                                 void *userdata,
                                                 treering_finalizer finalizer,
                                                 const treering_control *control,
                                                 treering_error **err);

/**
 * Makes registries. Reads the files of the options or of the environment.
 *
 * @param options NULL for the defaults.
 * @param credentials see treering_credentials_fn; NULL for none, and refused beside a `username`.
 * @param userdata handed to the callback.
 * @param finalizer called once with `userdata` when it will not be used any more: the registries were freed and the last operation
 * with them has ended; at once when an argument was refused. May be NULL.
 */
treering_status treering_registries_new(const treering_registries_options *options,
                                        size_t options_size,
                                        treering_credentials_fn credentials,
                                        void *userdata,
                                        treering_finalizer finalizer,
                                        treering_registries **out,
                                        treering_error **err);

/**
 * Answers with a user name and a password, which are copied.
 */
treering_status treering_answer_basic(treering_answer *answer,
                                      const char *username,
                                      const char *password,
                                      treering_error **err);

/**
 * Answers with a token, which is copied.
 *
 * @param identity whether the registry's token server exchanges it for others (an identity token); else it is sent to the
 * registry as it is.
 */
treering_status treering_answer_token(treering_answer *answer,
                                      const char *token,
                                      bool identity,
                                      treering_error **err);

/**
 * Asks a registry whether it takes a user name and a password, and keeps them where Docker does, or in `auth_file`. Opens sockets.
 *
 * Errors: TREERING_UNAUTHORIZED when the registry refuses them, and nothing is kept; TREERING_NETWORK.
 *
 * @param registries NULL for those of the environment.
 * @param registry as names write it: `docker.io`, `registry.example:5000`.
 * @param control may be NULL.
 * @param kept_in receives where they are kept now, for people to read; may be NULL.
 */
treering_status treering_registry_login(const treering_registries *registries,
                                        const char *registry,
                                        const char *username,
                                        const char *password,
                                        const treering_control *control,
                                        treering_bytes **kept_in,
                                        treering_error **err);

/**
 * Forgets the credentials of a registry. Asks no registry.
 *
 * @param registries NULL for those of the environment.
 * @param registry as names write it.
 * @param was receives whether there were any; may be NULL.
 */
treering_status treering_registry_logout(const treering_registries *registries,
                                         const char *registry,
                                         bool *was,
                                         treering_error **err);

/**
 * Lists every tag of a repository, in the registry's order. Opens sockets.
 *
 * Errors: TREERING_NOT_FOUND when the registry does not have the repository; TREERING_UNAUTHORIZED, TREERING_NETWORK.
 *
 * @param registries NULL for those of the environment.
 * @param repository a name without tag and digest.
 * @param control may be NULL.
 * @param out receives a JSON list of texts.
 */
treering_status treering_registry_tags(const treering_registries *registries,
                                       const char *repository,
                                       const treering_control *control,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * Frees registries. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
 */
treering_status treering_registries_free(treering_registries *registries);

/**
 * Pulls an image as `docker pull` does; the name moves to it. Layers that the store holds are not fetched, transfers that are
 * cut go on, and everything is checked before the name changes. Opens sockets; a wait for the network ends within 100 ms when the
 * control is cancelled.
 *
 * Errors: TREERING_NOT_FOUND when the registry does not have it, or nothing for the platform; TREERING_UNAUTHORIZED,
 * TREERING_NETWORK; TREERING_CORRUPT when what arrives is not what was announced; TREERING_LIMIT over a cap.
 *
 * @param registries NULL for those of the environment.
 * @param name as `docker pull` takes it: `debian`, `registry.example:5000/app:v1`, `app@sha256:...`.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_pull_result).
 */
treering_status treering_registry_pull(const treering_store *store,
                                       const treering_registries *registries,
                                       const char *name,
                                       const treering_pull_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_pull_result *out,
                                       size_t out_size,
                                       treering_error **err);

/**
 * Pulls an image as treering_registry_pull() does and unpacks it as treering_unpack() does, both at once: layers are applied while
 * they arrive. After an error neither the name nor the directory is there.
 *
 * @param registries NULL for those of the environment.
 * @param options of the pull, its platform among them; NULL for the defaults.
 * @param apply options of the unpacking; their platform is not looked at; NULL for the defaults.
 * @param apply_size sizeof(treering_apply_options).
 * @param control may be NULL.
 * @param out_size sizeof(treering_pull_result).
 * @param unpacked receives what was unpacked; may be NULL.
 * @param unpacked_size sizeof(treering_unpack_result).
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_registry_pull_unpack(const treering_store *store,
                                              const treering_registries *registries,
                                              const char *name,
                                              const uint8_t *dir,
                                              size_t dir_len,
                                              const treering_pull_options *options,
                                              size_t options_size,
                                              const treering_apply_options *apply,
                                              size_t apply_size,
                                              const treering_control *control,
                                              treering_pull_result *out,
                                              size_t out_size,
                                              treering_unpack_result *unpacked,
                                              size_t unpacked_size,
                                              treering_report **report,
                                              treering_error **err);

/**
 * Pushes an image of the store, as `docker push` does. What the registry has, or can take from another of its repositories, is
 * not sent. Opens sockets, as treering_registry_pull() does.
 *
 * Errors: TREERING_NOT_FOUND when the image, or a blob that the registry lacks, is not in the store; TREERING_UNAUTHORIZED,
 * TREERING_NETWORK.
 *
 * @param registries NULL for those of the environment.
 * @param reference the image, as treering_refs_resolve() finds it.
 * @param target where to; its tag is `latest` when it has none.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_push_result).
 */
treering_status treering_registry_push(const treering_store *store,
                                       const treering_registries *registries,
                                       const char *reference,
                                       const char *target,
                                       const treering_push_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_push_result *out,
                                       size_t out_size,
                                       treering_error **err);

/**
 * Copies an image from one registry to another, or within one: every byte as it is, nothing kept on disk. Blobs that the target
 * has do not travel. Opens sockets, as treering_registry_pull() does.
 *
 * Errors: those of treering_registry_pull() and treering_registry_push().
 *
 * @param registries NULL for those of the environment.
 * @param source the name to copy.
 * @param target the name it gets; its tag is `latest` when it has none.
 * @param platform only this platform's image out of one for several; NULL for everything that the index lists.
 * @param control may be NULL.
 * @param out_size sizeof(treering_push_result).
 */
treering_status treering_registry_copy(const treering_registries *registries,
                                       const char *source,
                                       const char *target,
                                       const char *platform,
                                       const treering_control *control,
                                       treering_push_result *out,
                                       size_t out_size,
                                       treering_error **err);

/**
 * Reads a manifest or an index from its registry, and nothing below it. Opens sockets, as treering_registry_pull() does.
 *
 * @param registries NULL for those of the environment.
 * @param control may be NULL.
 * @param digest receives its digest; may be NULL.
 * @param media_type receives its media type; may be NULL.
 * @param out receives its bytes, as the registry has them.
 */
treering_status treering_registry_manifest(const treering_registries *registries,
                                           const char *name,
                                           const treering_control *control,
                                           treering_digest *digest,
                                           treering_bytes **media_type,
                                           treering_bytes **out,
                                           treering_error **err);

/**
 * Makes a list of images for several platforms (an index) and gives it a name in the store, from where treering_registry_push()
 * takes it. Each image is one of the store, or else one of its registry, of which only manifest and configuration are fetched:
 * opens sockets for that, as treering_registry_pull() does.
 *
 * Errors: TREERING_ALREADY_EXISTS when the name stands for an image and `amend` is not set.
 *
 * @param registries NULL for those of the environment.
 * @param images the images; of one for several platforms all are taken.
 * @param amend add to the list that has the name, replacing what is for the same platform.
 * @param control may be NULL.
 * @param out receives the digest of the list; may be NULL.
 */
treering_status treering_registry_list_create(const treering_store *store,
                                              const treering_registries *registries,
                                              const char *name,
                                              const char *const *images,
                                              size_t images_len,
                                              bool amend,
                                              const treering_control *control,
                                              treering_digest *out,
                                              treering_error **err);

/**
 * Changes what a list in the store says about one of its images.
 *
 * @param name the list.
 * @param image the image, as it was named when the list was made, or by its digest.
 * @param platform the platform that the entry is for; NULL to leave it.
 * @param annotations annotations to set on the entry.
 * @param control may be NULL.
 * @param out receives the digest of the list; may be NULL.
 */
treering_status treering_registry_list_annotate(const treering_store *store,
                                                const char *name,
                                                const char *image,
                                                const char *platform,
                                                const treering_pair *annotations,
                                                size_t annotations_len,
                                                const treering_control *control,
                                                treering_digest *out,
                                                treering_error **err);

/**
 * Answers for git. What it wrote is copied.
 *
 * @param success whether it exited with 0.
 * @param output what it wrote to standard output.
 * @param errors what it wrote to standard error.
 */
treering_status treering_git_answer_set(treering_git_answer *answer,
                                        bool success,
                                        const uint8_t *output,
                                        size_t output_len,
                                        const uint8_t *errors,
                                        size_t errors_len,
                                        treering_error **err);

/**
 * Builds an image from a Dockerfile, in BuildKit's language. Steps that nothing changed for come out of the cache. What happens goes
 * out as events, see treering_control_enable_events(): steps that begin and end, their output, transfers, warnings, errors.
 *
 * Starts processes for RUN, with the helper program, each isolated in a tree of its own, and opens sockets where `registries` is set or
 * the Dockerfile asks for something of the network. Cancelling the control ends the commands.
 *
 * Errors: TREERING_SYNTAX with treering_error_location(); TREERING_COMMAND_FAILED with treering_error_exit_code(); TREERING_NOT_FOUND
 * for a base image or a file that is not there; TREERING_UNSUPPORTED for what this machine cannot run.
 *
 * @param options NULL for the defaults, which have neither context nor Dockerfile.
 * @param control may be NULL.
 * @param out_size sizeof(treering_build_result).
 */
treering_status treering_build(const treering_store *store,
                               const treering_build_options *options,
                               size_t options_size,
                               const treering_control *control,
                               treering_build_result *out,
                               size_t out_size,
                               treering_error **err);

/**
 * Checks a Dockerfile by the rules of BuildKit's linter, and builds nothing.
 *
 * @param options as for treering_build().
 * @param control may be NULL.
 * @param fails receives whether the Dockerfile, or `checks`, asks for warnings to be errors; may be NULL.
 * @param out receives a JSON list of objects with `rule`, `message`, `file`, `line`, `column` and `text`, in the order of lines.
 */
treering_status treering_build_check(const treering_store *store,
                                     const treering_build_options *options,
                                     size_t options_size,
                                     const treering_control *control,
                                     bool *fails,
                                     treering_bytes **out,
                                     treering_error **err);

/**
 * Lists what a target of a Dockerfile takes, and builds nothing.
 *
 * @param options as for treering_build().
 * @param control may be NULL.
 * @param out receives a JSON object with `name`, `description`, `args` (objects with `name`, `description`, `value` and `location`),
 * `secrets` and `ssh` (objects with `id`, `required` and `location`). A location has `file`, `line`, `column` and `text`.
 */
treering_status treering_build_outline(const treering_store *store,
                                       const treering_build_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * Lists the stages of a Dockerfile that can be built, and builds nothing.
 *
 * @param options as for treering_build().
 * @param control may be NULL.
 * @param out receives a JSON list of objects with `name`, `description`, `base` and `default`.
 */
treering_status treering_build_targets(const treering_store *store,
                                       const treering_build_options *options,
                                       size_t options_size,
                                       const treering_control *control,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * Runs a command in a directory that was unpacked, checked out, cloned or committed. Owners, devices, capabilities and all else that the
 * disk does not take without privileges are kept in the store, and every later commit and comparison of the directory has them.
 *
 * Starts a process, the helper. Returns when the command has started; treering_process_wait() waits for its end. Cancelling the control
 * ends the command and all that it started.
 *
 * Errors: TREERING_NOT_FOUND when the store has no record of the directory; TREERING_BUSY when another command runs in it;
 * TREERING_UNSUPPORTED when there is no way to run a command here.
 *
 * @param settings settings of the command besides the directory: of it count `entrypoint`, `environment`, `user`,
 * `directory`, `hostname`, `volumes`, `tmpfs`, `network`, `read_only` and `rung`. NULL for the defaults.
 * @param output gets the streams that have no descriptor; may be NULL.
 * @param userdata handed to the function.
 * @param finalizer called once with `userdata` when it will not be used any more, from whatever thread: the command has
 * ended, or was not started. May be NULL.
 * @param control may be NULL.
 */
treering_status treering_tree_run(const treering_store *store,
                                  const uint8_t *dir,
                                  size_t dir_len,
                                  const treering_container_options *settings,
                                  size_t settings_size,
                                  const treering_run_options *options,
                                  size_t options_size,
                                  treering_output_fn output,
                                  void *userdata,
                                  treering_finalizer finalizer,
                                  const treering_control *control,
                                  treering_process **out,
                                  treering_error **err);

/**
 * Waits until a command has ended and all its output was passed on. Any number of threads may wait, and every call after the end gives the
 * same.
 *
 * Errors: a command that runs and fails is none. TREERING_COMMAND_FAILED with treering_error_exit_code() when it could not be
 * executed (126, 127) or ended with its supervisor (137); TREERING_CANCELLED after treering_process_kill() or when its control was
 * cancelled; TREERING_CALLBACK; TREERING_INVALID_ARGUMENT where its output function waits without a limit.
 *
 * @param limit_ms milliseconds to wait at most; a negative number for no limit, 0 to look only.
 * @param out_size sizeof(treering_process_result).
 */
treering_status treering_process_wait(const treering_process *process,
                                      int64_t limit_ms,
                                      treering_process_result *out,
                                      size_t out_size,
                                      treering_error **err);

/**
 * Sends a signal to the first process of a command. One that has ended gets none, and that is no error. Any thread.
 *
 * @param signal its number, as in signal.h.
 */
treering_status treering_process_signal(const treering_process *process,
                                        int32_t signal,
                                        treering_error **err);

/**
 * Gives the terminal of a command another size. One that has ended gets none, and that is no error. Any thread.
 *
 * Errors: TREERING_INVALID_ARGUMENT for a command without a terminal.
 *
 * @param rows lines.
 * @param columns characters in a line.
 */
treering_status treering_process_resize(const treering_process *process,
                                        uint16_t rows,
                                        uint16_t columns,
                                        treering_error **err);

/**
 * Leaves a container that treering_container_attach() joined in with, without waiting for that; its command goes on. Any thread.
 *
 * Errors: TREERING_INVALID_ARGUMENT for another process.
 */
treering_status treering_process_detach(const treering_process *process,
                                        treering_error **err);

/**
 * Ends a command and all that it started, without waiting for that. One of a container that this process is attached to goes on. Of a command beside a container's own, what it started stays there
 * until the container's ends. Any thread.
 */
treering_status treering_process_kill(const treering_process *process,
                                      treering_error **err);

/**
 * Returns the rung by which a command is run, such as `notify`; lives as long as the process. Empty for one that is beside
 * a container's own, NULL when `process` is no process.
 */
const char *treering_process_rung(const treering_process *process);

/**
 * Frees a process: ends its command, unless it has ended, and waits until nothing of it is left. NULL is fine.
 * TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_process_free(treering_process *process);

/**
 * Makes a container of an image of the store: a tree, unpacked or moved from one that a container of the image left, and its settings.
 *
 * Errors: TREERING_ALREADY_EXISTS when another container has the name.
 *
 * @param reference the image, as treering_refs_resolve() finds it.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 */
treering_status treering_container_create(const treering_store *store,
                                          const char *reference,
                                          const treering_container_options *options,
                                          size_t options_size,
                                          const treering_control *control,
                                          treering_container **out,
                                          treering_error **err);

/**
 * Finds a container of a store.
 *
 * @param name its name, its id, or the first four or more digits of that.
 */
treering_status treering_container_open(const treering_store *store,
                                        const char *name,
                                        treering_container **out,
                                        treering_error **err);

/**
 * Frees a container. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_container_free(treering_container *container);

/**
 * Lists the containers of a store.
 *
 * @param out receives a JSON list, the newest first: objects with `id`, `name`, `image`, `image_id`, `created`, `status`, `exit_code`, `labels`
 * and `tree`.
 */
treering_status treering_container_list(const treering_store *store,
                                        treering_bytes **out,
                                        treering_error **err);

/**
 * Returns the id, 64 hexadecimal digits; lives as long as the handle. NULL when `container` is no container.
 */
const char *treering_container_id(const treering_container *container);

/**
 * Returns the path of its tree, which all functions take that take the path of one; lives as long as the handle. NULL when
 * `container` is no container.
 *
 * @param len receives how many bytes it has; may be NULL.
 */
const uint8_t *treering_container_tree(const treering_container *container,
                                       size_t *len);

/**
 * Says how a container is. One has ended when its supervisor was killed.
 *
 * @param out_size sizeof(treering_container_state).
 */
treering_status treering_container_get_state(const treering_container *container,
                                             treering_container_state *out,
                                             size_t out_size,
                                             treering_error **err);

/**
 * Gives the object that `docker inspect` prints of a container, as JSON.
 */
treering_status treering_container_inspect(const treering_container *container,
                                           treering_bytes **out,
                                           treering_error **err);

/**
 * Runs a container's command, or another one, supervised by this process: it ends with it. Opens the socket of the container, a file in
 * the store, by which other processes reach it. For the rest, see treering_tree_run().
 *
 * Errors: TREERING_BUSY when it runs already.
 *
 * @param output gets the streams that have no descriptor; may be NULL.
 * @param userdata handed to the function.
 * @param finalizer see treering_tree_run(); may be NULL.
 * @param control may be NULL.
 */
treering_status treering_container_run(const treering_container *container,
                                       const treering_run_options *options,
                                       size_t options_size,
                                       treering_output_fn output,
                                       void *userdata,
                                       treering_finalizer finalizer,
                                       const treering_control *control,
                                       treering_process **out,
                                       treering_error **err);

/**
 * Runs one more command in a container that runs: it has the same files and processes, and ends with the container. For
 * the rest, see treering_tree_run(). Opens the socket of the container, a file in the store.
 *
 * Errors: TREERING_INVALID_ARGUMENT when the container does not run, and for `rung` and `helper`, which are the container's;
 * TREERING_UNSUPPORTED where the rung runs one command at a time (`paths`).
 *
 * @param output gets the streams that have no descriptor; may be NULL.
 * @param userdata handed to the function.
 * @param finalizer see treering_tree_run(); may be NULL.
 * @param control may be NULL.
 */
treering_status treering_container_exec(const treering_container *container,
                                        const treering_run_options *options,
                                        size_t options_size,
                                        treering_output_fn output,
                                        void *userdata,
                                        treering_finalizer finalizer,
                                        const treering_control *control,
                                        treering_process **out,
                                        treering_error **err);

/**
 * Starts a container's command, or another one, with a supervisor of its own, which goes on when this process ends. What it writes is in
 * the log. Starts a process, the helper, which leaves this one; both open sockets, files in the store.
 *
 * Errors: TREERING_BUSY when it runs already.
 *
 * @param options of it count `command`, `environment`, `user`, `directory`, `rung`, `helper`, `tty`, `rows`, `columns` and `interactive`;
 * NULL for the defaults.
 */
treering_status treering_container_start(const treering_container *container,
                                         const treering_run_options *options,
                                         size_t options_size,
                                         treering_error **err);

/**
 * Joins in with the command of a container that runs by itself: gives its output from now on, and passes input on. The process stands for
 * that: treering_process_wait() gives the end of the command, or that it was left. It is left, and the command goes on, by
 * treering_process_detach(), treering_process_kill(), treering_process_free(), a cancelled control, and where the command has a
 * terminal by Ctrl-P Ctrl-Q in its input. Starts no process, and opens the socket of the container, a file in the store. For the rest,
 * see treering_tree_run().
 *
 * Errors: TREERING_INVALID_ARGUMENT when the container does not run.
 *
 * @param options of it count `stdin_fd`, `stdout_fd`, `stderr_fd`, `merge`, `rows` and `columns`; NULL for the defaults.
 * @param output gets the streams that have no descriptor; may be NULL.
 * @param userdata handed to the function.
 * @param finalizer see treering_tree_run(); may be NULL.
 * @param control may be NULL.
 */
treering_status treering_container_attach(const treering_container *container,
                                          const treering_run_options *options,
                                          size_t options_size,
                                          treering_output_fn output,
                                          void *userdata,
                                          treering_finalizer finalizer,
                                          const treering_control *control,
                                          treering_process **out,
                                          treering_error **err);

/**
 * Asks a container's command to stop, and kills it when it has not ended after a while. One that does not run is stopped.
 * Opens the socket of the container, a file in the store.
 *
 * @param patience_ms milliseconds to wait before it is killed.
 * @param control may be NULL.
 */
treering_status treering_container_stop(const treering_container *container,
                                        uint64_t patience_ms,
                                        const treering_control *control,
                                        treering_error **err);

/**
 * Sends a container's command a signal. Opens the socket of the container, a file in the store.
 *
 * Errors: TREERING_INVALID_ARGUMENT when the container does not run.
 *
 * @param signal its number, as in signal.h.
 */
treering_status treering_container_kill(const treering_container *container,
                                        int32_t signal,
                                        treering_error **err);

/**
 * Waits until a container's command has ended, whichever process supervises it. Where none runs it is the last one's exit code.
 * Opens the socket of the container, a file in the store.
 *
 * @param limit_ms milliseconds to wait at most; a negative number for no limit, 0 to look only.
 * @param control may be NULL.
 * @param out_size sizeof(treering_process_result).
 */
treering_status treering_container_wait(const treering_container *container,
                                        int64_t limit_ms,
                                        const treering_control *control,
                                        treering_process_result *out,
                                        size_t out_size,
                                        treering_error **err);

/**
 * Gives what a container's command wrote, oldest first, line by line.
 *
 * @param follow whether to go on until the command ends.
 * @param tail how many of the last lines; NULL for all.
 * @param output gets the lines.
 * @param userdata handed to the function.
 * @param finalizer see treering_finalizer; may be NULL.
 * @param control may be NULL.
 */
treering_status treering_container_logs(const treering_container *container,
                                        bool follow,
                                        const size_t *tail,
                                        treering_output_fn output,
                                        void *userdata,
                                        treering_finalizer finalizer,
                                        const treering_control *control,
                                        treering_error **err);

/**
 * Gives a container another name. It may run.
 */
treering_status treering_container_rename(const treering_container *container,
                                          const char *name,
                                          treering_error **err);

/**
 * Removes a container with its tree. Its handles find nothing then. With `force` it opens the socket of the container, a file in the store.
 *
 * Errors: TREERING_BUSY when it runs, unless `force` is set.
 *
 * @param force whether its command is killed first.
 * @param control may be NULL.
 */
treering_status treering_container_remove(const treering_container *container,
                                          bool force,
                                          const treering_control *control,
                                          treering_error **err);

/**
 * Commits a container's tree as treering_commit() does, with what was said of the container in the configuration: command, variables,
 * user, directory and labels. `changes` come after those.
 *
 * Errors: TREERING_BUSY while a command runs in it.
 *
 * @param reference the name the image gets; NULL for none.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_commit_result).
 * @param report receives what was left out; may be NULL.
 */
treering_status treering_container_commit(const treering_container *container,
                                          const char *reference,
                                          const treering_commit_options *options,
                                          size_t options_size,
                                          const treering_control *control,
                                          treering_commit_result *out,
                                          size_t out_size,
                                          treering_report **report,
                                          treering_error **err);

/**
 * Makes a container's tree what an image says, as treering_checkout() does.
 *
 * Errors: TREERING_BUSY while a command runs in it.
 *
 * @param reference the image, as treering_refs_resolve() finds it; `-` for the one the tree was before its present one.
 * @param options NULL for the defaults.
 * @param control may be NULL.
 * @param out_size sizeof(treering_checkout_result).
 * @param changes receives the paths that are, or would be, different. May be NULL.
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_container_checkout(const treering_container *container,
                                            const char *reference,
                                            const treering_checkout_options *options,
                                            size_t options_size,
                                            const treering_control *control,
                                            treering_checkout_result *out,
                                            size_t out_size,
                                            treering_changes **changes,
                                            treering_report **report,
                                            treering_error **err);

/**
 * Copies a file or directory of the host into a container, as `docker cp` does: a directory that is there at `path` gets it under its own
 * name, and a source that ends in `/.` is copied without its name. Symbolic links in `path` are followed inside the container.
 *
 * A command may run in it: then a process beside that makes the files, which this function asks for over the socket of the container, a
 * file in the store, and files that are open stay what they are.
 *
 * Errors: TREERING_NOT_FOUND where the source, or the directory of `path`, is missing; TREERING_INVALID_ARGUMENT for a directory in place
 * of a file, and for names that would delete files when the tree becomes a layer (`.wh.*`). After an error a part of it may be there.
 *
 * @param source the file or directory of the host.
 * @param path where it goes in the container.
 * @param keep_owners files keep the owners that they have on the host, in place of becoming root's.
 * @param control may be NULL.
 * @param unkept receives for how many entries owners or attributes are lost; may be NULL.
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_container_copy_in(const treering_container *container,
                                           const uint8_t *source,
                                           size_t source_len,
                                           const uint8_t *path,
                                           size_t path_len,
                                           bool keep_owners,
                                           const treering_control *control,
                                           uint64_t *unkept,
                                           treering_report **report,
                                           treering_error **err);

/**
 * Copies a file or directory of a container to the host, as `docker cp` does: a directory that is there at `target` gets it under its own
 * name, and a path that ends in `/.` is copied without its name. A command may run in the container.
 *
 * Errors: TREERING_NOT_FOUND where nothing is at `path`; TREERING_INVALID_ARGUMENT for what is neither file nor directory.
 * A file that is there is replaced once all is written; of a directory a part may be there after an error.
 *
 * @param path the file or directory of the container.
 * @param target where it goes on the host.
 * @param control may be NULL.
 * @param unkept receives for how many entries owners or attributes are lost, because the disk does not take them; may be NULL.
 * @param report receives what was lost; may be NULL.
 */
treering_status treering_container_copy_out(const treering_container *container,
                                            const uint8_t *path,
                                            size_t path_len,
                                            const uint8_t *target,
                                            size_t target_len,
                                            const treering_control *control,
                                            uint64_t *unkept,
                                            treering_report **report,
                                            treering_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TREERING_H */
