/* Functions in random order, with handles that are good, NULL, freed or of another type, and with odd paths, texts,
 * sizes and descriptors: each call succeeds or gives an error that says why. TREERING_SEED=number repeats a run. */
#include "common.h"

/* The smallest generator that is good enough (xorshift64). */
static uint64_t state;

static uint64_t below(uint64_t limit) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % limit;
}

static bool once_in(uint64_t n) { return below(n) == 0; }

enum kind {
  STORE,
  CONTROL,
  SNAPSHOT,
  WALK,
  DIFF,
  IMAGE,
  READER,
  REFS,
  BYTES,
  REPORT,
  CHANGES,
  LIST,
  LOADED,
  CONTAINER,
  FILES,
  KINDS
};
enum { SLOTS = 6, FREED = 16 };
/* What is alive, and what was once: a freed handle may be passed again. */
static void *alive[KINDS][SLOTS], *freed[FREED];

static treering_status release(enum kind kind, void *handle) {
  switch (kind) {
  case STORE:
    return treering_store_free(handle);
  case CONTROL:
    return treering_control_free(handle);
  case SNAPSHOT:
    return treering_snapshot_free(handle);
  case WALK:
    return treering_walk_free(handle);
  case DIFF:
    return treering_diff_free(handle);
  case IMAGE:
    return treering_image_free(handle);
  case READER:
    return treering_reader_free(handle);
  case REFS:
    return treering_refs_free(handle);
  case BYTES:
    return treering_bytes_free(handle);
  case REPORT:
    return treering_report_free(handle);
  case CHANGES:
    return treering_changes_free(handle);
  case LIST:
    return treering_layer_list_free(handle);
  case LOADED:
    return treering_loaded_free(handle);
  case CONTAINER:
    return treering_container_free(handle);
  case FILES:
    return treering_layer_files_free(handle);
  case KINDS:
    break;
  }
  return TREERING_INTERNAL;
}

static void drop(enum kind kind, size_t slot) {
  /* One that was freed by the address of an earlier one is gone already. */
  treering_status status = release(kind, alive[kind][slot]);
  CHECK(status == TREERING_OK || status == TREERING_INVALID_ARGUMENT);
  freed[below(FREED)] = alive[kind][slot];
  alive[kind][slot] = NULL;
}

static void keep(enum kind kind, void *handle) {
  size_t slot = below(SLOTS);
  CHECK(handle != NULL);
  if (alive[kind][slot] != NULL) drop(kind, slot);
  alive[kind][slot] = handle;
}

/* Mostly a good one. */
static void *handle(enum kind kind) {
  switch (below(12)) {
  case 0:
    return NULL;
  case 1:
    return freed[below(FREED)];
  case 2:
    return alive[below(KINDS)][below(SLOTS)];
  case 3:
    return once_in(2) ? (void *)(uintptr_t)8 : (void *)(uintptr_t)"no handle at all";
  default:
    break;
  }
  for (size_t tries = 0; tries < 4 * SLOTS; tries++) {
    void *found = alive[kind][below(SLOTS)];
    if (found != NULL) return found;
  }
  return NULL;
}

static const char *text(void) {
  static const char *const texts[] = {"app:1", "app:2",   "app:3",       "app:1",     "app:2", "absent", "",  "caf\xe9",
                                      "A:B:C", "sha256:", "linux/amd64", "structure", "gzip",  "-1",     NULL};
  return texts[below(sizeof texts / sizeof texts[0])];
}

static const uint8_t *path(size_t *len) {
  static char long_path[5000];
  static const char nul[] = "a\0b";
  static const char *const inside[] = {"t0", "t1", "t2", "t0", "t1", "t2", "absent", "t0/file", "store", "fifo"};
  static const char *const odd[] = {"", ".", "..", "file", "caf\xe9", "/dev/null/x", "dir/file"};
  const char *chosen = NULL;
  switch (below(9)) {
  case 0:
    *len = below(3);
    return NULL;
  case 1:
    *len = sizeof nul - 1;
    return (const uint8_t *)nul;
  case 2:
    memset(long_path, 'x', sizeof long_path);
    *len = sizeof long_path;
    return (const uint8_t *)long_path;
  case 3:
    chosen = odd[below(sizeof odd / sizeof odd[0])];
    break;
  default:
    chosen = in_scratch(inside[below(sizeof inside / sizeof inside[0])]);
    break;
  }
  *len = strlen(chosen);
  return (const uint8_t *)chosen;
}

/* A directory of ours to write to: what is odd is tried with functions that only read. */
static const uint8_t *target(size_t *len) {
  static const char *const targets[] = {"t0", "t1", "t2", "t3", "t4"};
  const char *chosen = in_scratch(targets[below(sizeof targets / sizeof targets[0])]);
  *len = once_in(10) ? 0 : strlen(chosen);
  return once_in(20) ? NULL : (const uint8_t *)chosen;
}

/* No more than there is. */
static size_t size(size_t of) {
  switch (below(10)) {
  case 0:
    return 0;
  case 1:
    return below(of + 1);
  default:
    return of;
  }
}

static int descriptor(int file) {
  switch (below(6)) {
  case 0:
    return -1;
  case 1:
    return 1 << 20;
  case 2:
    return (int)below(3) + 900;
  default:
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    return file;
  }
}

/* Looks at what a call gave. */
static treering_error *err;
static bool want_error;

static bool done(int32_t status) {
  if (status == TREERING_OK) {
    CHECK(err == NULL);
    return true;
  }
  CHECK(status > 0 && strcmp(treering_status_name(status), treering_status_name(-1)) != 0);
  CHECK(status != TREERING_INTERNAL);
  if (!want_error) {
    CHECK(err == NULL);
    return false;
  }
  CHECK(err != NULL && treering_error_status(err) == status && strlen(treering_error_message(err)) > 0);
  CHECK(strlen(treering_error_text(err)) > 0 && treering_error_free(err) == TREERING_OK);
  err = NULL;
  return false;
}

/* Whether the caller wants the error is drawn for each call. */
#define CALL(call) ((want_error = !once_in(5)), (e = want_error ? &err : NULL), done(call))
/* An out-pointer, rarely none. */
#define OUT(place) (once_in(15) ? NULL : &(place))
/* Keeps a handle, unless there was nowhere to put it. */
#define GIVES(kind, place, call)                                                                                       \
  do {                                                                                                                 \
    place = NULL;                                                                                                      \
    if (CALL(call)) keep(kind, place);                                                                                 \
  } while (0)

static void step(int file) {
  treering_error **e = NULL;
  size_t len = 0, other_len = 0, n = 0;
  const uint8_t *bytes = path(&len), *other = path(&other_len);
  void *store = handle(STORE), *control = once_in(3) ? handle(CONTROL) : NULL;
  union {
    treering_store *store;
    treering_control *control;
    treering_snapshot *snapshot;
    treering_walk *walk;
    treering_diff *diff;
    treering_image *image;
    treering_reader *reader;
    treering_refs *refs;
    treering_bytes *bytes;
    treering_report *report;
    treering_changes *changes;
    treering_layer_list *list;
    treering_loaded *loaded;
    treering_container *container;
    treering_layer_files *files;
  } out;
  treering_report *report = NULL;
  treering_commit_result made;
  treering_unpack_result unpacked;
  treering_checkout_result moved;
  treering_clone_result cloned;
  treering_layer_result layer;
  treering_apply_result applied;
  treering_edit_result edited;
  treering_entry entries[3];
  treering_change changes[3];
  treering_ref refs[3];
  treering_layer layers[3];
  treering_layer_entry listed[3];
  treering_loaded_image images[3];
  treering_xattr xattrs[3];
  treering_progress progress;
  treering_resolved resolved;
  treering_diff_stat_result stat_result;
  treering_prune_result pruned;
  treering_fsck_result checked;
  uint8_t buffer[64];
  const char *references[2] = {text(), text()};
  bool more = false;

  switch (below(58)) {
  case 0:
    GIVES(STORE, out.store, treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, OUT(out.store), e));
    break;
  case 1:
    GIVES(STORE, out.store, treering_store_open(other, other_len, NULL, 0, OUT(out.store), e));
    break;
  case 2:
    GIVES(CONTROL, out.control, treering_control_new(OUT(out.control), e));
    break;
  case 3:
    if (once_in(4)) (void)CALL(treering_control_cancel(handle(CONTROL), e));
    break;
  case 4:
    (void)CALL(treering_control_progress(handle(CONTROL), OUT(progress), size(sizeof progress), e));
    break;
  case 5:
  case 6:
  case 7:
    bytes = target(&len);
    if (CALL(treering_commit(store, bytes, len, text(), NULL, 0, control, OUT(made), size(sizeof made), OUT(report), e))
        && report != NULL)
      keep(REPORT, report);
    break;
  case 8:
  case 9:
    bytes = target(&len);
    if (CALL(treering_unpack(store, text(), bytes, len, NULL, 0, control, OUT(unpacked), size(sizeof unpacked),
                             OUT(report), e))
        && report != NULL)
      keep(REPORT, report);
    break;
  case 10:
    bytes = target(&len);
    out.changes = NULL;
    if (CALL(treering_checkout(store, text(), bytes, len, NULL, 0, control, OUT(moved), size(sizeof moved),
                               OUT(out.changes), NULL, e))
        && out.changes != NULL)
      keep(CHANGES, out.changes);
    break;
  case 11:
    other = target(&other_len);
    (void)CALL(treering_clone(store, bytes, len, other, other_len, NULL, 0, control, OUT(cloned), size(sizeof cloned),
                              NULL, e));
    break;
  case 12:
    GIVES(SNAPSHOT, out.snapshot,
          treering_snapshot_scan(TREERING_PATH(in_scratch("t0")), NULL, 0, control, OUT(out.snapshot), NULL, e));
    break;
  case 13:
    GIVES(SNAPSHOT, out.snapshot, treering_snapshot_load(bytes, len, OUT(out.snapshot), e));
    break;
  case 14:
    for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (uint8_t)below(256);
    GIVES(SNAPSHOT, out.snapshot,
          treering_snapshot_from_bytes(once_in(9) ? NULL : buffer, below(sizeof buffer), OUT(out.snapshot), e));
    break;
  case 15:
    (void)CALL(treering_snapshot_save(handle(SNAPSHOT), TREERING_PATH(in_scratch("saved")), e));
    break;
  case 16:
    GIVES(SNAPSHOT, out.snapshot, treering_snapshot_load(TREERING_PATH(in_scratch("saved")), OUT(out.snapshot), e));
    break;
  case 17:
    (void)CALL(treering_snapshot_lookup(handle(SNAPSHOT), bytes, len, OUT(entries[0]), size(sizeof entries[0]), e));
    break;
  case 18:
    (void)CALL(treering_snapshot_xattrs(handle(SNAPSHOT), (uint32_t)below(9), below(3), once_in(9) ? NULL : xattrs,
                                        size(sizeof xattrs[0]), below(4), OUT(n), e));
    break;
  case 19:
    GIVES(WALK, out.walk, treering_snapshot_walk(handle(SNAPSHOT), OUT(out.walk), e));
    break;
  case 20:
  case 21:
    (void)CALL(
        treering_walk_next(handle(WALK), once_in(9) ? NULL : entries, size(sizeof entries[0]), below(4), OUT(n), e));
    break;
  case 22:
    GIVES(DIFF, out.diff, treering_diff_tree(store, bytes, len, text(), NULL, 0, control, OUT(out.diff), NULL, e));
    break;
  case 23:
    GIVES(DIFF, out.diff,
          treering_diff_trees(store, bytes, len, other, other_len, NULL, 0, control, OUT(out.diff), NULL, e));
    break;
  case 24:
  case 25:
    GIVES(DIFF, out.diff,
          treering_diff_snapshots(handle(SNAPSHOT), handle(SNAPSHOT), NULL, 0, NULL, 0, OUT(out.diff), e));
    break;
  case 26:
    GIVES(DIFF, out.diff, treering_diff_images(store, text(), text(), NULL, 0, control, OUT(out.diff), e));
    break;
  case 27:
    (void)CALL(
        treering_diff_next(handle(DIFF), once_in(9) ? NULL : changes, size(sizeof changes[0]), below(4), OUT(n), e));
    break;
  case 28:
    (void)CALL(treering_diff_rewind(handle(DIFF), e));
    break;
  case 29:
    (void)CALL(treering_diff_stat(handle(DIFF), OUT(stat_result), size(sizeof stat_result), e));
    break;
  case 30:
    GIVES(SNAPSHOT, out.snapshot, treering_diff_old_snapshot(handle(DIFF), OUT(out.snapshot), e));
    break;
  case 31:
    GIVES(SNAPSHOT, out.snapshot, treering_diff_new_snapshot(handle(DIFF), OUT(out.snapshot), e));
    break;
  case 32:
  case 33:
    GIVES(IMAGE, out.image, treering_image_open(store, text(), once_in(5) ? text() : NULL, OUT(out.image), e));
    break;
  case 34:
    GIVES(BYTES, out.bytes, treering_image_history(handle(IMAGE), OUT(out.bytes), e));
    break;
  case 35:
    GIVES(BYTES, out.bytes, treering_image_inspect(handle(IMAGE), OUT(out.bytes), e));
    break;
  case 36:
    GIVES(BYTES, out.bytes, treering_image_report(handle(IMAGE), once_in(2), control, OUT(out.bytes), e));
    break;
  case 37:
    GIVES(WALK, out.walk, treering_image_list(handle(IMAGE), bytes, len, control, OUT(out.walk), e));
    break;
  case 38:
    GIVES(READER, out.reader, treering_image_file(handle(IMAGE), bytes, len, control, OUT(out.reader), e));
    break;
  case 39:
    GIVES(READER, out.reader, treering_image_file(handle(IMAGE), TREERING_PATH("file"), control, OUT(out.reader), e));
    break;
  case 40:
    (void)CALL(treering_reader_read(handle(READER), once_in(9) ? NULL : buffer, below(sizeof buffer), OUT(n), e));
    break;
  case 41:
    (void)CALL(treering_image_layers(handle(IMAGE), below(3), once_in(9) ? NULL : layers, size(sizeof layers[0]),
                                     below(4), OUT(n), e));
    break;
  case 42:
    GIVES(REFS, out.refs, treering_refs_list(store, OUT(out.refs), e));
    break;
  case 43:
    (void)CALL(
        treering_refs_get(handle(REFS), below(5), once_in(9) ? NULL : refs, size(sizeof refs[0]), below(4), OUT(n), e));
    break;
  case 44:
    (void)CALL(treering_refs_resolve(store, text(), OUT(resolved), size(sizeof resolved), e));
    break;
  case 45:
    (void)CALL(treering_refs_tag(store, text(), text(), e));
    break;
  case 46:
    if (once_in(4))
      (void)CALL(once_in(2) ? treering_refs_untag(store, text(), e) : treering_refs_remove(store, text(), e));
    break;
  case 47:
    if (once_in(3))
      (void)CALL(treering_store_prune(store, NULL, 0, control, OUT(pruned), size(sizeof pruned), NULL, e));
    break;
  case 48:
    if (once_in(3))
      (void)CALL(treering_store_fsck(store, text(), control, OUT(checked), size(sizeof checked), NULL, e));
    break;
  case 49:
    (void)CALL(
        treering_layer_write_fd(handle(DIFF), NULL, 0, descriptor(file), control, OUT(layer), size(sizeof layer), e));
    break;
  case 50:
    GIVES(LIST, out.list, treering_layer_list_fd(descriptor(file), NULL, 0, control, OUT(out.list), e));
    break;
  case 51:
    (void)CALL(treering_layer_list_get(handle(LIST), below(5), once_in(9) ? NULL : listed, size(sizeof listed[0]),
                                       below(4), OUT(n), e));
    break;
  case 52:
    bytes = target(&len);
    (void)CALL(treering_layer_apply_fd(store, descriptor(file), bytes, len, NULL, 0, control, OUT(applied),
                                       size(sizeof applied), NULL, e));
    break;
  case 53:
    (void)CALL(treering_archive_save_fd(store, references, below(3), NULL, 0, descriptor(file), control, e));
    break;
  case 54:
    GIVES(LOADED, out.loaded, treering_archive_load_fd(store, descriptor(file), NULL, 0, control, OUT(out.loaded), e));
    break;
  case 55:
    (void)CALL(treering_loaded_get(handle(LOADED), below(3), once_in(9) ? NULL : images, size(sizeof images[0]),
                                   below(4), OUT(n), e));
    break;
  case 56:
    (void)CALL(treering_edit(store, text(), text(), NULL, 0, control, OUT(edited), size(sizeof edited), e));
    break;
  case 57:
    GIVES(FILES, out.files, treering_layer_files_image(handle(IMAGE), below(3), NULL, 0, control, OUT(out.files), e));
    (void)CALL(treering_layer_files_next(handle(FILES), OUT(listed[0]), size(sizeof listed[0]), OUT(more), e));
    (void)CALL(treering_layer_files_read(handle(FILES), once_in(9) ? NULL : buffer, below(sizeof buffer), OUT(n), e));
    break;
  }

  /* Functions that give a value take any handle. */
  (void)treering_store_path(handle(STORE), OUT(n));
  (void)treering_snapshot_bytes(handle(SNAPSHOT), OUT(n));
  (void)treering_image_config(handle(IMAGE), OUT(n));
  (void)(treering_bytes_len(handle(BYTES)) + treering_report_len(handle(REPORT))
         + treering_changes_len(handle(CHANGES)));
  (void)(treering_diff_len(handle(DIFF)) + treering_loaded_len(handle(LOADED)) + treering_refs_len(handle(REFS)));
  (void)treering_container_id(handle(CONTAINER));
  if (once_in(6)) {
    enum kind kind = (enum kind)below(KINDS);
    size_t slot = below(SLOTS);
    if (alive[kind][slot] != NULL) drop(kind, slot);
  } else if (once_in(6)) {
    enum kind kind = (enum kind)below(KINDS);
    void *none = once_in(2) ? freed[below(FREED)] : (void *)(uintptr_t)8;
    treering_status status = release(kind, none);
    CHECK(status == TREERING_INVALID_ARGUMENT || status == TREERING_OK);
  }
}

int main(void) {
  const char *seed = getenv("TREERING_SEED"), *rounds = getenv("TREERING_SOAK_ROUNDS");
  unsigned long long first = seed != NULL ? strtoull(seed, NULL, 10) : 20240229;
  long calls = (rounds != NULL ? atol(rounds) : 400) * 10;
  fprintf(stderr, "TREERING_SEED=%llu\n", first);
  state = (uint64_t)first * 2 + 1;
  scratch();
  sh("cd '%s' && mkdir t0 t1 t2 && echo 0 >t0/file && ln t0/file t0/same && echo 1 >t1/file && mkfifo fifo",
     scratch_dir);
  /* Where relative paths lead. */
  CHECK(mkdir(in_scratch("here"), 0700) == 0 && chdir(in_scratch("here")) == 0);
  int file = open(in_scratch("stream"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(file >= 0);
  for (long call = 0; call < calls; call++) {
    if (once_in(20)) {
      static const char *const files[] = {"t0/file", "t1/file", "t2/new", "t3/new"};
      FILE *changed = fopen(in_scratch(files[below(4)]), "a");
      if (changed != NULL) CHECK(fputs("more", changed) >= 0 && fclose(changed) == 0);
    }
    step(file);
  }
  for (size_t kind = 0; kind < KINDS; kind++) {
    for (size_t slot = 0; slot < SLOTS; slot++) {
      if (alive[kind][slot] != NULL) drop((enum kind)kind, slot);
    }
  }
  CHECK(close(file) == 0);
  return 0;
}
