/* Snapshots and diffs: what is in a tree, and what changed. */
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "common.h"

static treering_error *err;

static treering_snapshot *scan(const char *tree, const treering_scan_options *options) {
  treering_snapshot *snapshot = NULL;
  OK(treering_snapshot_scan(TREERING_PATH(tree), options, sizeof *options, NULL, &snapshot, NULL, &err));
  return snapshot;
}

/* The changes as `docker diff` would list them, and their reasons. */
static void expect(treering_diff *diff, const char *expected, size_t batch) {
  char text[1024] = "";
  treering_change changes[7];
  size_t n = 0, total = 0;
  CHECK(batch <= 7);
  OK(treering_diff_rewind(diff, &err));
  do {
    OK(treering_diff_next(diff, changes, sizeof changes[0], batch, &n, &err));
    for (size_t i = 0; i < n; i++) {
      size_t at = strlen(text);
      snprintf(text + at, sizeof text - at, "%c %.*s %x\n", " ACD"[changes[i].kind], (int)changes[i].path_len,
               (const char *)changes[i].path, (unsigned)changes[i].reasons);
      CHECK((changes[i].old_index == TREERING_NO_ENTRY) == (changes[i].kind == TREERING_CHANGE_ADDED));
    }
    total += n;
  } while (n > 0);
  CHECK(total == treering_diff_len(diff));
  if (strcmp(text, expected) != 0) {
    fprintf(stderr, "expected:\n%sgot:\n%s", expected, text);
    exit(1);
  }
}

/* What a path leads to decides how it is written: a link stays and a mode is kept, what is no regular file gets the
 * bytes. */
static void saved_where_the_path_leads(treering_snapshot *snapshot) {
  struct stat stat_of;
  size_t len = 0;
  const uint8_t *bytes = treering_snapshot_bytes(snapshot, &len);
  uint8_t *read_back = malloc(len + 1);
  char descriptor[64];
  CHECK(read_back != NULL);

  sh("cd '%s' && echo old >saved && chmod 600 saved && ln -s saved link && mkfifo fifo", scratch_dir);
  OK(treering_snapshot_save(snapshot, TREERING_PATH(in_scratch("link")), &err));
  CHECK(lstat(in_scratch("link"), &stat_of) == 0 && S_ISLNK(stat_of.st_mode));
  CHECK(lstat(in_scratch("saved"), &stat_of) == 0 && (stat_of.st_mode & 07777) == 0600);
  CHECK((size_t)stat_of.st_size == len);

  /* Open to be read and written, the fifo waits for nobody; the snapshot fits into it. */
  int fifo = open(in_scratch("fifo"), O_RDWR | O_CLOEXEC), file = open(in_scratch("saved"), O_RDWR | O_CLOEXEC);
  CHECK(fifo >= 0 && file >= 0 && len < 4096);
  OK(treering_snapshot_save(snapshot, TREERING_PATH(in_scratch("fifo")), &err));
  CHECK(lstat(in_scratch("fifo"), &stat_of) == 0 && S_ISFIFO(stat_of.st_mode));
  CHECK(read(fifo, read_back, len + 1) == (ssize_t)len && memcmp(read_back, bytes, len) == 0);

  CHECK(lseek(file, 1, SEEK_SET) == 1);
  snprintf(descriptor, sizeof descriptor, "/dev/fd/%d", file);
  OK(treering_snapshot_save(snapshot, TREERING_PATH(descriptor), &err));
  CHECK(lseek(file, 0, SEEK_CUR) == (off_t)len + 1);

  /* Root has a device of its own: a fault must not replace the machine's. */
  if (geteuid() == 0 && mknod(in_scratch("null"), S_IFCHR | 0666, makedev(1, 3)) == 0) {
    OK(treering_snapshot_save(snapshot, TREERING_PATH(in_scratch("null")), &err));
    CHECK(lstat(in_scratch("null"), &stat_of) == 0 && S_ISCHR(stat_of.st_mode));
  }
  CHECK(close(fifo) == 0 && close(file) == 0);
  free(read_back);
}

static void snapshots(void) {
  const char *tree = in_scratch("a");
  treering_entry entry, batch[2];
  treering_walk *walk = NULL;
  treering_xattr xattr[3];
  size_t n = 0, total = 0;
  sh("mkdir -p '%s/d/e' && printf 12345 >'%s/d/f' && ln '%s/d/f' '%s/g' && ln -s d/f '%s/l'", tree, tree, tree, tree,
     tree);
  sh("printf x >'%s/caf\xe9' && chmod 0640 '%s/g' && touch -d 2020-01-01T00:00:00.5Z '%s/g'", tree, tree, tree);
  char file[600];
  snprintf(file, sizeof file, "%s/g", tree);
  int attributes = setxattr(file, "user.note", "a\0b", 3, 0) == 0;
  treering_scan_options options = {0};
  options.owner = "3:4";
  treering_snapshot *none = NULL;
  options.owner_from = (treering_slice){TREERING_PATH("nobody")};
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_snapshot_scan(TREERING_PATH(tree), &options, sizeof options, NULL, &none, NULL, &err));
  options.owner_from = (treering_slice){TREERING_PATH("fakeroot:/none")};
  FAILS(TREERING_NOT_FOUND,
        treering_snapshot_scan(TREERING_PATH(tree), &options, sizeof options, NULL, &none, NULL, &err));
  options.owner_from = (treering_slice){NULL, 0};
  options.threads = 2;
  options.one_file_system = true;
  treering_snapshot *snapshot = scan(tree, &options);
  CHECK(treering_snapshot_len(snapshot) == 7);

  const char *order[] = {"", "caf\xe9", "d", "d/e", "d/f", "g", "l"};
  OK(treering_snapshot_walk(snapshot, &walk, &err));
  do {
    OK(treering_walk_next(walk, batch, sizeof batch[0], 2, &n, &err));
    for (size_t i = 0; i < n; i++, total++) {
      CHECK(batch[i].path_len == strlen(order[total]));
      CHECK(memcmp(batch[i].path, order[total], batch[i].path_len) == 0);
    }
  } while (n > 0);
  CHECK(total == 7);
  treering_walk_free(walk);

  OK(treering_snapshot_lookup(snapshot, TREERING_PATH("g"), &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_FILE && entry.mode == 0640 && entry.size == 5 && entry.nlink == 2);
  CHECK(entry.uid == 3 && entry.gid == 4 && entry.parent == 0 && entry.mtime_nanos == 500000000);
  CHECK(entry.mtime_secs == 1577836800);
  if (attributes) {
    CHECK(entry.xattrs == 1);
    OK(treering_snapshot_xattrs(snapshot, entry.index, 0, xattr, sizeof xattr[0], 3, &n, &err));
    CHECK(n == 1 && xattr[0].name_len == 9 && memcmp(xattr[0].name, "user.note", 9) == 0);
    CHECK(xattr[0].value_len == 3 && memcmp(xattr[0].value, "a\0b", 3) == 0);
  }
  FAILS(TREERING_INVALID_ARGUMENT, treering_snapshot_xattrs(snapshot, 7, 0, xattr, sizeof xattr[0], 3, &n, &err));
  uint32_t leader = entry.leader;
  OK(treering_snapshot_lookup(snapshot, TREERING_PATH("d/f"), &entry, sizeof entry, &err));
  CHECK(entry.leader == leader && entry.index == leader);
  OK(treering_snapshot_lookup(snapshot, TREERING_PATH("l"), &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_SYMLINK && entry.target_len == 3 && memcmp(entry.target, "d/f", 3) == 0);
  OK(treering_snapshot_lookup(snapshot, NULL, 0, &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_DIRECTORY && entry.index == 0);
  FAILS(TREERING_NOT_FOUND, treering_snapshot_lookup(snapshot, TREERING_PATH("x"), &entry, sizeof entry, &err));

  treering_snapshot *loaded = NULL;
  OK(treering_snapshot_save(snapshot, TREERING_PATH(in_scratch("index")), &err));
  OK(treering_snapshot_load(TREERING_PATH(in_scratch("index")), &loaded, &err));
  size_t len = 0, other = 0;
  const uint8_t *bytes = treering_snapshot_bytes(snapshot, &len);
  CHECK(memcmp(bytes, treering_snapshot_bytes(loaded, &other), len) == 0 && len == other);
  FAILS(TREERING_CORRUPT, treering_snapshot_load(TREERING_PATH(file), &loaded, &err));
  saved_where_the_path_leads(snapshot);
  options.previous = loaded;
  treering_snapshot *next = scan(tree, &options);
  treering_snapshot_free(loaded);

  treering_diff *diff = NULL;
  OK(treering_diff_snapshots(snapshot, next, NULL, 0, NULL, 0, &diff, &err));
  expect(diff, "", 7);
  treering_diff_free(diff);
  treering_snapshot_free(next);
  treering_snapshot_free(snapshot);
}

static void diffs(void) {
  const char *a = in_scratch("a"), *b = in_scratch("b");
  treering_diff *diff = NULL;
  treering_diff_options options = {0};
  treering_diff_stat_result numbers;
  sh("cp -a '%s' '%s' && cd '%s' && printf 1 >d/new && rm l && chmod 0600 g && printf y >caf\xe9 "
     "&& touch -r '%s/caf\xe9' caf\xe9 && touch -r '%s/d' d",
     a, b, b, a, a);
  const char *expected = "C caf\xe9 2\nC d 200\nC d/f 4\nA d/new 0\nC g 4\nD l 0\n";
  options.threads = 1;
  options.compare = "content";
  options.owner = "root";
  options.exact_times = true;
  OK(treering_diff_trees(NULL, TREERING_PATH(a), TREERING_PATH(b), &options, sizeof options, NULL, &diff, NULL, &err));
  for (size_t batch = 1; batch <= 7; batch++) expect(diff, expected, batch);
  OK(treering_diff_stat(diff, &numbers, sizeof numbers, &err));
  CHECK(numbers.added == 1 && numbers.changed == 4 && numbers.deleted == 1 && numbers.bytes == 7);

  /* The snapshots outlive the diff they came from. */
  treering_snapshot *before = NULL, *after = NULL;
  OK(treering_diff_old_snapshot(diff, &before, &err));
  OK(treering_diff_new_snapshot(diff, &after, &err));
  treering_diff_free(diff);
  OK(treering_diff_snapshots(before, after, TREERING_PATH(b), NULL, 0, &diff, &err));
  CHECK(treering_diff_len(diff) >= 6);
  treering_diff_free(diff);
  OK(treering_diff_snapshots(NULL, after, NULL, 0, NULL, 0, &diff, &err));
  CHECK(treering_diff_len(diff) == treering_snapshot_len(after) - 1);
  treering_snapshot *none = NULL;
  FAILS(TREERING_NOT_FOUND, treering_diff_old_snapshot(diff, &none, &err));
  treering_diff_free(diff);
  treering_snapshot_free(before);
  treering_snapshot_free(after);
}

static void of_images_and_overlays(void) {
  const char *a = in_scratch("a"), *b = in_scratch("b");
  treering_store *store = NULL;
  treering_commit_result made;
  treering_diff *diff = NULL;
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_commit(store, TREERING_PATH(a), "a", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  OK(treering_commit(store, TREERING_PATH(b), "b", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_image *image = NULL;
  treering_snapshot *contents = NULL, *copy = NULL;
  size_t len = 0;
  OK(treering_image_open(store, "a", NULL, &image, &err));
  OK(treering_image_contents(image, NULL, &contents, &err));
  treering_image_free(image);
  const uint8_t *bytes = treering_snapshot_bytes(contents, &len);
  OK(treering_snapshot_from_bytes(bytes, len, &copy, &err));
  CHECK(treering_snapshot_len(contents) > 4 && treering_snapshot_len(copy) == treering_snapshot_len(contents));
  treering_snapshot_free(copy);
  FAILS(TREERING_CORRUPT, treering_snapshot_from_bytes(bytes, len - 1, &copy, &err));
  FAILS(TREERING_CORRUPT, treering_snapshot_from_bytes(NULL, 0, &copy, &err));
  treering_snapshot_free(contents);
  OK(treering_diff_images(store, "a", "b", NULL, 0, NULL, &diff, &err));
  expect(diff, "C caf\xe9 2\nC d 200\nC d/f 4\nA d/new 0\nC g 4\nD l 0\n", 7);
  treering_layer_result written;
  FAILS(TREERING_UNSUPPORTED, treering_layer_write_fd(diff, NULL, 0, 1, NULL, &written, sizeof written, &err));
  treering_diff_free(diff);
  FAILS(TREERING_NOT_FOUND, treering_diff_images(store, "a", "c", NULL, 0, NULL, &diff, &err));
  OK(treering_diff_images(store, NULL, "b", NULL, 0, NULL, &diff, &err));
  CHECK(treering_diff_len(diff) == 6);
  treering_diff_free(diff);

  sh("printf 2 >'%s/d/new'", b);
  OK(treering_diff_tree(store, TREERING_PATH(b), NULL, NULL, 0, NULL, &diff, NULL, &err));
  expect(diff, "C d 200\nC d/new 12\n", 7);
  treering_diff_free(diff);
  OK(treering_diff_tree(store, TREERING_PATH(b), "a", NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_len(diff) == 6);
  treering_diff_free(diff);

  const char *upper = in_scratch("upper");
  sh("mkdir -p '%s/d' && printf 3 >'%s/d/three'", upper, upper);
  const treering_slice lowers[] = {{(const uint8_t *)a, strlen(a)}};
  OK(treering_diff_overlay(NULL, TREERING_PATH(upper), lowers, 1, NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_len(diff) >= 1);
  int fd = open("/dev/null", O_WRONLY);
  OK(treering_layer_write_fd(diff, NULL, 0, fd, NULL, &written, sizeof written, &err));
  close(fd);
  CHECK(written.entries >= 2 && written.diff_size >= 2048);
  treering_diff_free(diff);
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_diff_overlay(NULL, TREERING_PATH(upper), NULL, 1, NULL, 0, NULL, &diff, NULL, &err));
  treering_store_free(store);
}

int main(void) {
  scratch();
  snapshots();
  diffs();
  of_images_and_overlays();
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
