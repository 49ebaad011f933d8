/* Files of an image without unpacking it, directories that become other images in place, and copies of directories. */
#include "common.h"

static treering_error *err;
static treering_store *store;

static void write_file(const char *dir, const char *name, const char *text) {
  sh("mkdir -p \"$(dirname '%s/%s')\" && printf '%%s' '%s' >'%s/%s'", dir, name, text, dir, name);
}

static void commit(const char *tree, const char *name) {
  treering_commit_result made;
  treering_commit_options options = {0};
  const int64_t created = 1700000000;
  options.created = &created, options.nanoseconds = true;
  OK(treering_commit(store, TREERING_PATH(tree), name, &options, sizeof options, NULL, &made, sizeof made, NULL, &err));
}

/* All of a file of an image, in pieces of an odd size. */
static char *content(const treering_image *image, const char *path) {
  static char text[256];
  treering_reader *reader = NULL;
  size_t at = 0, n = 0;
  OK(treering_image_file(image, TREERING_PATH(path), NULL, &reader, &err));
  do {
    OK(treering_reader_read(reader, (uint8_t *)text + at, 3, &n, &err));
    CHECK(n <= 3);
    at += n;
    CHECK(at + 3 < sizeof text);
  } while (n > 0);
  text[at] = 0;
  CHECK(treering_reader_free(reader) == TREERING_OK);
  CHECK(treering_reader_free(reader) == TREERING_INVALID_ARGUMENT);
  return text;
}

static void files(void) {
  const char *tree = in_scratch("tree");
  write_file(tree, "etc/os-release", "NAME=x");
  write_file(tree, "usr/share/big", "");
  sh("ln -s ../usr/share/os '%s/etc/link'; ln -s /etc/os-release '%s/usr/share/os'; ln -s /../../etc '%s/out'", tree,
     tree, tree);
  sh("head -c 9000000 /dev/zero >'%s/usr/share/big'; ln -s loop '%s/loop'; chmod 4750 '%s/etc/os-release'", tree, tree,
     tree);
  commit(tree, "files:1");
  sh("rm -r '%s'", tree);
  treering_image *image = NULL;
  OK(treering_image_open(store, "files:1", NULL, &image, &err));

  treering_entry entry;
  OK(treering_image_stat(image, TREERING_PATH("/etc/link"), true, NULL, &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_FILE && entry.size == 6 && entry.mode == 04750);
  treering_snapshot *contents = NULL;
  OK(treering_image_contents(image, NULL, &contents, &err));
  OK(treering_snapshot_lookup(contents, TREERING_PATH("etc/os-release"), &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_FILE && entry.size == 6 && entry.mode == 04750 && entry.has_digest);
  CHECK(treering_snapshot_free(contents) == TREERING_OK);
  OK(treering_image_stat(image, TREERING_PATH("out/link"), false, NULL, &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_SYMLINK && entry.target_len == 15 && memcmp(entry.target, "../usr/share/os", 15) == 0);
  OK(treering_image_stat(image, NULL, 0, true, NULL, &entry, sizeof entry, &err));
  CHECK(entry.kind == TREERING_DIRECTORY && entry.index == 0);
  FAILS(TREERING_NOT_FOUND,
        treering_image_stat(image, TREERING_PATH("etc/none"), true, NULL, &entry, sizeof entry, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_image_stat(image, TREERING_PATH("loop"), true, NULL, &entry, sizeof entry, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_image_stat(image, TREERING_PATH("etc/link/x"), true, NULL, &entry, sizeof entry, &err));

  treering_walk *walk = NULL;
  treering_entry entries[2];
  size_t n = 0, total = 0;
  const char *names[] = {"etc", "loop", "out", "usr"};
  OK(treering_image_list(image, NULL, 0, NULL, &walk, &err));
  do {
    OK(treering_walk_next(walk, entries, sizeof entries[0], 2, &n, &err));
    for (size_t i = 0; i < n; i++, total++) {
      CHECK(total < 4 && entries[i].path_len == strlen(names[total]));
      CHECK(memcmp(entries[i].path, names[total], entries[i].path_len) == 0);
    }
  } while (n > 0);
  CHECK(total == 4 && treering_walk_free(walk) == TREERING_OK);
  OK(treering_image_list(image, TREERING_PATH("out"), NULL, &walk, &err));
  OK(treering_walk_next(walk, entries, sizeof entries[0], 2, &n, &err));
  CHECK(n == 2 && entries[1].path_len == 14 && memcmp(entries[1].path, "etc/os-release", 14) == 0);
  treering_walk_free(walk);
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_list(image, TREERING_PATH("etc/link"), NULL, &walk, &err));

  CHECK(strcmp(content(image, "etc/link"), "NAME=x") == 0);
  CHECK(strcmp(content(image, "/usr/share/../../../out/os-release"), "NAME=x") == 0);
  treering_reader *reader = NULL;
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_file(image, TREERING_PATH("etc"), NULL, &reader, &err));
  FAILS(TREERING_NOT_FOUND, treering_image_file(image, TREERING_PATH("x"), NULL, &reader, &err));

  /* A large file is streamed, also after its image and its store were let go; the rest of it goes to a descriptor. */
  OK(treering_image_file(image, TREERING_PATH("usr/share/big"), NULL, &reader, &err));
  CHECK(treering_image_free(image) == TREERING_OK);
  uint8_t byte = 7;
  uint64_t copied = 0;
  OK(treering_reader_read(reader, &byte, 1, &n, &err));
  CHECK(n == 1 && byte == 0);
  OK(treering_reader_read(reader, NULL, 0, &n, &err));
  CHECK(n == 0);
  FAILS(TREERING_INVALID_ARGUMENT, treering_reader_read(reader, NULL, 1, &n, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_reader_copy_fd(reader, 999, NULL, &copied, &err));
  int fd = open(in_scratch("copy"), O_WRONLY | O_CREAT | O_EXCL, 0600);
  treering_control *control = NULL;
  OK(treering_control_new(&control, &err));
  OK(treering_control_cancel(control, &err));
  FAILS(TREERING_CANCELLED, treering_reader_copy_fd(reader, fd, control, &copied, &err));
  OK(treering_reader_copy_fd(reader, fd, NULL, &copied, &err));
  CHECK(copied == 8999999 && lseek(fd, 0, SEEK_CUR) == 8999999 && close(fd) == 0);
  OK(treering_reader_read(reader, &byte, 1, &n, &err));
  CHECK(n == 0);
  CHECK(treering_reader_free(reader) == TREERING_OK && treering_control_free(control) == TREERING_OK);
  FAILS(TREERING_INVALID_ARGUMENT, treering_reader_read(reader, &byte, 1, &n, &err));
}

/* The changes of a checkout as a text. */
static void expect_changes(treering_changes *changes, const char *expected) {
  char text[256] = "";
  treering_change one;
  size_t n = 1;
  for (size_t i = 0; n > 0; i++) {
    OK(treering_changes_get(changes, i, &one, sizeof one, 1, &n, &err));
    if (n == 0) CHECK(i == treering_changes_len(changes));
    else
      snprintf(text + strlen(text), sizeof text - strlen(text), "%c %.*s;", " ACD"[one.kind], (int)one.path_len,
               (const char *)one.path);
  }
  if (strcmp(text, expected) != 0) {
    fprintf(stderr, "expected %s, got %s\n", expected, text);
    exit(1);
  }
  CHECK(treering_changes_free(changes) == TREERING_OK);
}

static void checkouts(void) {
  const char *tree = in_scratch("moved"), *copy = in_scratch("copied");
  treering_checkout_result made;
  treering_checkout_options options = {0};
  treering_changes *changes = NULL;
  treering_report *report = NULL;
  write_file(tree, "a", "1");
  write_file(tree, "d/keep", "keep");
  commit(tree, "moved:1");
  write_file(tree, "a", "22");
  write_file(tree, "b", "new");
  commit(tree, "moved:2");

  options.dry_run = true;
  OK(treering_checkout(store, "moved:1", TREERING_PATH(tree), &options, sizeof options, NULL, &made, sizeof made,
                       &changes, NULL, &err));
  CHECK(made.written == 1 && made.removed == 1 && made.kept >= 2);
  expect_changes(changes, "C ;C a;D b;");
  sh("[ \"$(cat '%s/a')\" = 22 ]", tree);
  OK(treering_checkout(store, "moved:1", TREERING_PATH(tree), NULL, 0, NULL, &made, sizeof made, &changes, &report,
                       &err));
  expect_changes(changes, "C ;C a;D b;");
  CHECK(treering_report_len(report) == made.losses && treering_report_free(report) == TREERING_OK);
  sh("[ \"$(cat '%s/a')\" = 1 ] && [ ! -e '%s/b' ]", tree, tree);
  OK(treering_checkout(store, "-", TREERING_PATH(tree), NULL, 0, NULL, &made, sizeof made, NULL, NULL, &err));
  sh("[ \"$(cat '%s/b')\" = new ]", tree);

  /* What is in no image stays until it is said to go. */
  write_file(tree, "mine", "x");
  FAILS(TREERING_IN_USE,
        treering_checkout(store, "moved:1", TREERING_PATH(tree), NULL, 0, NULL, &made, sizeof made, NULL, NULL, &err));
  treering_clone_result cloned;
  OK(treering_clone(store, TREERING_PATH(tree), TREERING_PATH(copy), NULL, 0, NULL, &cloned, sizeof cloned, &report,
                    &err));
  CHECK(cloned.entries == 5 && cloned.notes == treering_report_len(report));
  CHECK(strcmp(cloned.manifest.text, made.manifest.text) == 0 && treering_report_free(report) == TREERING_OK);
  sh("diff -r '%s' '%s'", tree, copy);
  FAILS(TREERING_ALREADY_EXISTS, treering_clone(store, TREERING_PATH(tree), TREERING_PATH(copy), NULL, 0, NULL, &cloned,
                                                sizeof cloned, NULL, &err));
  options.dry_run = false, options.discard = true;
  OK(treering_checkout(store, "moved:2", TREERING_PATH(copy), &options, sizeof options, NULL, &made, sizeof made,
                       &changes, NULL, &err));
  expect_changes(changes, "C ;D mine;");
  FAILS(TREERING_NOT_FOUND, treering_clone(store, TREERING_PATH("/usr/lib"), TREERING_PATH(in_scratch("no")), NULL, 0,
                                           NULL, &cloned, sizeof cloned, NULL, &err));
  treering_control *control = NULL;
  OK(treering_control_new(&control, &err));
  OK(treering_control_cancel(control, &err));
  FAILS(TREERING_CANCELLED, treering_checkout(store, "moved:1", TREERING_PATH(copy), NULL, 0, control, &made,
                                              sizeof made, NULL, NULL, &err));
  treering_control_free(control);
}

static void unchanged(void) {
  const char *tree = in_scratch("same");
  treering_commit_result first, again;
  treering_commit_options options = {0};
  write_file(tree, "f", "x");
  OK(treering_commit(store, TREERING_PATH(tree), "same:1", NULL, 0, NULL, &first, sizeof first, NULL, &err));
  options.only_if_changed = true;
  OK(treering_commit(store, TREERING_PATH(tree), "same:2", &options, sizeof options, NULL, &again, sizeof again, NULL,
                     &err));
  CHECK(strcmp(first.image_id.text, again.image_id.text) == 0 && !again.has_layer);
  OK(treering_commit(store, TREERING_PATH(tree), "same:3", NULL, 0, NULL, &again, sizeof again, NULL, &err));
  CHECK(strcmp(first.image_id.text, again.image_id.text) != 0);
}

int main(void) {
  scratch();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  files();
  checkouts();
  unchanged();
  CHECK(treering_store_free(store) == TREERING_OK);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
