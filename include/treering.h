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
 * what both know and zeroes the rest. Sizes are in bytes, times in seconds since 1970.
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
 * handlers, and does not change the process: no umask, no working directory, no environment. A function starts a child process or
 * opens a socket only where its description says so; no other does. The library starts threads, and all have ended when a call
 * returns. Running out of memory aborts. Pointers must be NULL or point to what is said: nobody can check that.
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

/** A C string as the two arguments of a path: a pointer and a length. Evaluates its argument twice. */
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
 * that the operation fails with TREERING_CALLBACK (or is cancelled, where the function hears of progress). The function has a
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
 * What a call came to. The numbers are stable and never used again for something else; a program should take numbers it
 * does not know for TREERING_INTERNAL.
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
   * A registry refused the credentials, or wants some.
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
 * What happened. A program should pass over kinds it does not have.
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
   * Something is worth a look, and nothing failed: `text`, and where there is one, the name of the `rule`, and the place.
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
 * What a note is about.
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
   * Something in the tree cannot be part of a layer and was left out.
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
 * What an entry is.
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
 * What happened to a path.
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
   * Something about the path is different: `C`.
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
 * Bytes made by the library, such as a JSON document; a NUL stands behind them. Owned by the caller, freed with
 * treering_bytes_free(). Never changes, so any number of threads may read it at once.
 */
typedef struct treering_bytes treering_bytes;

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
 * Why a call failed. Made by the call that failed, owned by the caller, freed with treering_error_free(). Never changes, so
 * any number of threads may read it at once. What the accessors return lives as long as the error.
 */
typedef struct treering_error treering_error;

/**
 * Something that happened during an operation. Made by treering_control_next_event(), owned by the caller, freed with
 * treering_event_free(). Never changes, so any number of threads may read it at once.
 */
typedef struct treering_event treering_event;

/**
 * An image for one platform: manifest and configuration read and checked, layers named. Owned by the caller, freed with
 * treering_image_free(). Never changes, so any number of threads may use it at once. It keeps its store open.
 */
typedef struct treering_image treering_image;

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
 * The images of a store at one moment, in the order of its index, those without a name included. Owned by the caller, freed
 * with treering_refs_free(). Never changes, so any number of threads may read it at once.
 */
typedef struct treering_refs treering_refs;

/**
 * What an operation could not keep or left out: a list of notes. Owned by the caller, freed with treering_report_free().
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
 * Iterates over the entries of a snapshot in byte order of their paths, the root first. One thread at a time: a call while
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
 * What an operation has done so far.
 */
typedef struct {
  /**
   * Filesystem or tar entries handled.
   */
  uint64_t entries;
  /**
   * Bytes of content read (uncompressed).
   */
  uint64_t bytes_read;
  /**
   * Bytes written to the result (compressed, or into files).
   */
  uint64_t bytes_written;
  /**
   * Bytes of content that will be read in all; 0 while unknown.
   */
  uint64_t bytes_total;
  /**
   * Whether treering_control_cancel() was called.
   */
  bool cancelled;
} treering_progress;

/**
 * Receives how far an operation is. Returns 0 to go on; any other number cancels everything that has the control, as
 * treering_control_cancel() does. `size` is how many bytes of `progress` there are: sizeof(treering_progress) as the library
 * knows it.
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
   * What happened.
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
   * What the step does, what is wrong, or why it failed, in one line.
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
 * One note of a report. The pointers live as long as the report.
 */
typedef struct {
  /**
   * What it is about.
   */
  treering_note_kind kind;
  /**
   * Where: a path below the root of the tree.
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
 * How much what is in a store may ask for: TREERING_LIMIT where it asks for more.
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
} treering_store_options;

/**
 * What a check of a store found.
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
 * What treering_store_prune() removes.
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
} treering_prune_options;

/**
 * What a prune removed, or would remove.
 */
typedef struct {
  /**
   * Nameless images whose entry went.
   */
  uint64_t nameless;
  /**
   * Blobs that went.
   */
  uint64_t blobs;
  /**
   * DiffIDs whose relations went, and ChainIDs whose entry list went.
   */
  uint64_t layers;
  /**
   * Files that dead writers had left.
   */
  uint64_t litter;
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
 * One name and what it stands for. The pointers live as long as the list they came from.
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
 * What a name was found to stand for.
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
 * One layer of an image. The pointers live as long as the image.
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
 * How a directory becomes an image.
 */
typedef struct {
  /**
   * What the image is built on: `auto` (also NULL) for the image the directory was unpacked from or last committed to, if
   * any; `scratch` for nothing; else the reference of an image.
   */
  const char *base;
  /**
   * How far metadata is trusted: `auto` (also NULL) trusts device, inode, ctime and the like, and compares the content of
   * everything else whose metadata agrees; `metadata` trusts size and times alone; `content` trusts nothing.
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
   * Do not look below mount points: a mount point counts as an empty directory.
   */
  bool one_file_system;
  /**
   * Latest time stamp in the layer, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
   */
  const int64_t *clamp_mtime;
  /**
   * Time the image is dated: seconds since 1970. NULL for now. Set it (and nothing else that varies) for an image whose
   * digest depends on its content alone.
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
} treering_commit_options;

/**
 * What a commit or an import made.
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
 * How layers are put into a directory, by treering_unpack() and treering_layer_apply_fd().
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
 * What was unpacked.
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
   * What it is.
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
 * How treering_snapshot_scan() works.
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
} treering_scan_options;

/**
 * How trees are compared.
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
   * so this is off. treering_diff_trees() always does.
   */
  bool exact_times;
  /**
   * Do not look below mount points: a mount point counts as an empty directory.
   */
  bool one_file_system;
  /**
   * Number of threads; 0 for one per processor. The result does not depend on it.
   */
  size_t threads;
} treering_diff_options;

/**
 * One changed path.
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
   * What happened to it.
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
 * How a layer is written.
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
 * Gives bytes that the library reads: puts at most `capacity` of them into `buffer`, their number into `len` (0 at the end)
 * and returns 0. Any other number fails the operation with TREERING_CALLBACK. For the rest, see treering_write_fn.
 */
typedef int32_t (*treering_read_fn)(void *userdata, uint8_t *buffer, size_t capacity, size_t *len);

/**
 * How much a layer that is listed may ask for.
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
 * One entry of a layer. The pointers live as long as the list.
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
   * What it is.
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
 * How an archive is loaded.
 */
typedef struct {
  /**
   * What happens to the names in the archive: `keep` (also NULL), a name that stands for another image in the store is an
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
 * One image that was loaded. The pointer lives as long as the list.
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
 * How a tar becomes an image.
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
 * How an image or a directory becomes one tar.
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

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The lower-case name of a status, as in `not-found`; `ok` for 0 and `internal` for numbers that are none. Never NULL;
 * static, never freed. Any thread.
 */
const char *treering_status_name(int32_t status);

/**
 * Frees an error. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
 */
treering_status treering_error_free(treering_error *error);

/**
 * The status of the call that failed; TREERING_INVALID_ARGUMENT when `error` is no error object.
 */
treering_status treering_error_status(const treering_error *error);

/**
 * The name of the kind of error, as treering_status_name() has it: `not-found`. NULL when `error` is no error object.
 */
const char *treering_error_kind(const treering_error *error);

/**
 * The operation that failed, a short verb phrase: `open store`. NULL when `error` is no error object.
 */
const char *treering_error_operation(const treering_error *error);

/**
 * What went wrong, in plain words, without operation and path. NULL when `error` is no error object.
 */
const char *treering_error_message(const treering_error *error);

/**
 * Operation, path and message in one line, for people; bytes of the path that are not UTF-8 appear as `\xNN`. NULL when
 * `error` is no error object.
 */
const char *treering_error_text(const treering_error *error);

/**
 * What the user can do about it; NULL when nothing is known.
 */
const char *treering_error_hint(const treering_error *error);

/**
 * The path (or reference, or digest) the operation failed at, as bytes; a NUL stands behind them. NULL when there is none.
 *
 * @param len receives the number of bytes; may be NULL.
 */
const uint8_t *treering_error_path(const treering_error *error,
                                   size_t *len);

/**
 * The cause number `n`, 0 for the nearest; NULL behind the last. At most 32 are kept.
 */
const char *treering_error_cause(const treering_error *error, size_t n);

/**
 * What the callback returned that made the call fail with TREERING_CALLBACK; 0 for every other error.
 */
int32_t treering_error_callback_code(const treering_error *error);

/**
 * The exit code of the command that was run and failed, with TREERING_COMMAND_FAILED: 128 and the number of the signal for one
 * that a signal ended. -1 for every other error.
 */
int32_t treering_error_exit_code(const treering_error *error);

/**
 * The place in a text that is at fault, with TREERING_SYNTAX for one: whether there is one. `out` is left alone otherwise.
 *
 * @param out may be NULL.
 * @param out_size sizeof(treering_location).
 */
bool treering_error_location(const treering_error *error,
                             treering_location *out,
                             size_t out_size);

/**
 * The number of the binary interface of the library that is loaded. A program compares it with TREERING_ABI_VERSION, which
 * it was compiled with, and does not go on when they differ. Any thread.
 */
uint32_t treering_abi_version(void);

/**
 * The version of the library, `MAJOR.MINOR.PATCH`. Static, never freed. Any thread.
 */
const char *treering_version(void);

/**
 * What this machine can do, found out by trying, and what the store holds: a JSON object with `version`, `abi`, `platform`,
 * `kernel`, `uid`, `processors`, `abilities` (each with `works` and `remark`) and, with a store, `store`.
 *
 * Leaves nothing behind. Any thread.
 *
 * @param store whose filesystem to probe; may be NULL.
 */
treering_status treering_info(const treering_store *store,
                              treering_bytes **out,
                              treering_error **err);

/**
 * Frees bytes. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
 */
treering_status treering_bytes_free(treering_bytes *bytes);

/**
 * The first byte; lives as long as `bytes`. NULL when `bytes` is no such object.
 */
const uint8_t *treering_bytes_data(const treering_bytes *bytes);

/**
 * How many bytes there are, the NUL behind them not counted; 0 when `bytes` is no such object.
 */
size_t treering_bytes_len(const treering_bytes *bytes);

/**
 * A new control: counters at 0, not cancelled.
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
 * How many notes there are; 0 when `report` is no report.
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
 * The root directory of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_store_path(const treering_store *store,
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
 * @param json receives what went: `nameless`, `blobs`, `layers` (lists of digests), `litter`, `bytes`, `untagged` (names),
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
 * What takes the space, as a JSON object: `images` (each `names`, `digest`, `size`, `shared`, `unique`, `layers`), `blobs`,
 * `blob_bytes`, `reclaimable`, `trees`, `layer_bytes`, `tmp_bytes`. Sizes are in bytes.
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
 * How many entries a list has; 0 when `refs` is no list.
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
 * Everything in an image, its layers merged, as a snapshot with the digest of every file. Reading all layers takes a while
 * the first time; the store keeps the list.
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
 * The image id: the digest of its configuration. An empty digest when `image` is no image.
 */
treering_digest treering_image_id(const treering_image *image);

/**
 * The digest of its manifest. An empty digest when `image` is no image.
 */
treering_digest treering_image_digest(const treering_image *image);

/**
 * The platform it is for, `os/arch[/variant]`; lives as long as the image. NULL when `image` is no image.
 */
const char *treering_image_platform(const treering_image *image);

/**
 * The size of manifest, configuration and layers as stored (compressed), in bytes; 0 when `image` is no image.
 */
uint64_t treering_image_size(const treering_image *image);

/**
 * The manifest, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_image_manifest(const treering_image *image, size_t *len);

/**
 * The configuration, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
 *
 * @param len receives the number of bytes; may be NULL. No NUL stands behind them.
 */
const uint8_t *treering_image_config(const treering_image *image,
                                     size_t *len);

/**
 * The history, newest row first: a JSON list of objects with `id`, `created`, `created_by`, `size`, `diff_size`, `diff_id`,
 * `comment`.
 */
treering_status treering_image_history(const treering_image *image,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * What `docker inspect` prints for an image: a JSON object.
 */
treering_status treering_image_inspect(const treering_image *image,
                                       treering_bytes **out,
                                       treering_error **err);

/**
 * How many layers it has; 0 when `image` is no image.
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
 * A snapshot out of the bytes that treering_snapshot_bytes() gave of one. They are copied. TREERING_CORRUPT when they are
 * none.
 */
treering_status treering_snapshot_from_bytes(const uint8_t *data,
                                             size_t len,
                                             treering_snapshot **out,
                                             treering_error **err);

/**
 * Saves a snapshot, atomically: a crash leaves the old file or the new one.
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
 * How many entries it has, the root included; 0 when `snapshot` is no snapshot.
 */
uint32_t treering_snapshot_len(const treering_snapshot *snapshot);

/**
 * The bytes as they are saved; they live as long as the snapshot. NULL when `snapshot` is no snapshot.
 *
 * @param len receives the number of bytes; may be NULL.
 */
const uint8_t *treering_snapshot_bytes(const treering_snapshot *snapshot, size_t *len);

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
 * The next entries.
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
 * Compares two directories, reading the content of files whose metadata agrees.
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
 * Compares two snapshots by what they hold. Where only content could tell, the entry counts as changed, with
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
 * What an overlay's upper directory changes over its lower directories, found without mounting it.
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
 * How many changes there are; 0 when `diff` is no diff.
 */
size_t treering_diff_len(const treering_diff *diff);

/**
 * The next changes, in byte order of their paths. Neither the root itself is among them, nor the old
 * names of a file that only gained one, as `docker diff` has it; a layer holds them.
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
 * The changes in numbers.
 *
 * @param out_size sizeof(treering_diff_stat_result).
 */
treering_status treering_diff_stat(const treering_diff *diff,
                                   treering_diff_stat_result *out,
                                   size_t out_size,
                                   treering_error **err);

/**
 * The snapshot that was compared with, as a handle of its own. TREERING_NOT_FOUND when it was nothing.
 */
treering_status treering_diff_old_snapshot(const treering_diff *diff,
                                           treering_snapshot **out,
                                           treering_error **err);

/**
 * The snapshot of the newer tree, as a handle of its own.
 */
treering_status treering_diff_new_snapshot(const treering_diff *diff,
                                           treering_snapshot **out,
                                           treering_error **err);

/**
 * Writes the layer that makes the old tree of a diff into the new one, from the files of the new tree.
 *
 * Errors: TREERING_CHANGED when a file is not as it was compared; TREERING_UNSUPPORTED when the diff knows no directory (of
 * images, or of snapshots without a tree). After an error what was written is a useless prefix.
 *
 * @param options NULL for the defaults.
 * @param fd where to write, from its present position on; stays open and yours. Not flushed to disk. A pipe whose reader is
 * gone raises SIGPIPE, as always, unless your program ignores it.
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
 * treering_layer_write_fd() to a callback.
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
 * What the disk does not take of owners, permissions, devices and attributes goes where treering_unpack() put it: into the
 * store, when that knows the directory. Nothing keeps it otherwise, see treering_apply_result::unkept.
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
 * treering_layer_apply_fd() from a callback.
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
 * treering_layer_list_fd() from a callback.
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
 * How many entries a list has; 0 when `list` is no list.
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
 * Writes images as one archive, which `docker load`, podman and skopeo read. The same images make the same bytes.
 *
 * @param references the images, as treering_refs_resolve() finds them: an array of `references_len` texts. One that is a
 * name becomes the image's name in the archive.
 * @param format `docker-archive` (also for NULL) or `oci-archive`.
 * @param fd where to write, from its present position on; stays open and yours.
 * @param control may be NULL.
 */
treering_status treering_archive_save_fd(const treering_store *store,
                                         const char *const *references,
                                         size_t references_len,
                                         const char *format,
                                         int32_t fd,
                                         const treering_control *control,
                                         treering_error **err);

/**
 * treering_archive_save_fd() to a callback.
 *
 * @param write see treering_write_fn.
 * @param userdata handed to the callback.
 * @param finalizer see treering_finalizer; may be NULL.
 */
treering_status treering_archive_save_callback(const treering_store *store,
                                               const char *const *references,
                                               size_t references_len,
                                               const char *format,
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
 * treering_archive_load_fd() from a callback.
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
 * How many images a list has; 0 when `loaded` is no list.
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
 * treering_archive_import_fd() from a callback.
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
 * treering_archive_export_fd() to a callback.
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

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TREERING_H */
