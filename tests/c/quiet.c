/* What needs no process and no socket, one call of each kind, with nothing else in the program: tests/c/run.sh traces
 * it. Its directory may be named, as the argument; nothing is removed then. */
#include "common.h"

static treering_error *err;
static treering_store *store;

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static int opened(const char *name) {
  int fd = open(in_scratch(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && lseek(fd, 0, SEEK_SET) == 0);
  return fd;
}

static void trees(void) {
  treering_commit_result made;
  treering_unpack_result unpacked;
  treering_checkout_result moved;
  treering_clone_result cloned;
  treering_diff *diff = NULL;
  const char *tree = in_scratch("tree"), *file = in_scratch("tree/file");
  CHECK(mkdir(tree, 0755) == 0);
  write_file(file, "one");
  OK(treering_commit(store, TREERING_PATH(tree), "app:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  write_file(file, "changed");
  OK(treering_diff_tree(store, TREERING_PATH(tree), NULL, NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_len(diff) > 0);
  treering_diff_free(diff);
  OK(treering_commit(store, TREERING_PATH(tree), "app:2", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  const char *work = in_scratch("work"), *copy = in_scratch("copy");
  OK(treering_unpack(store, "app:1", TREERING_PATH(work), NULL, 0, NULL, &unpacked, sizeof unpacked, NULL, &err));
  OK(treering_checkout(store, "app:2", TREERING_PATH(work), NULL, 0, NULL, &moved, sizeof moved, NULL, NULL, &err));
  OK(treering_clone(store, TREERING_PATH(work), TREERING_PATH(copy), NULL, 0, NULL, &cloned, sizeof cloned, NULL,
                    &err));
  OK(treering_diff_trees(store, TREERING_PATH(work), TREERING_PATH(copy), NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_len(diff) == 0);
  treering_diff_free(diff);
}

static void layers(void) {
  treering_diff *diff = NULL;
  treering_layer_result layer;
  treering_apply_result applied;
  treering_layer_list *list = NULL;
  treering_snapshot *snapshot = NULL;
  int fd = opened("layer");
  OK(treering_diff_images(store, "app:1", "app:2", NULL, 0, NULL, &diff, &err));
  treering_diff_free(diff);
  OK(treering_diff_tree(store, TREERING_PATH(in_scratch("tree")), "app:1", NULL, 0, NULL, &diff, NULL, &err));
  OK(treering_layer_write_fd(diff, NULL, 0, fd, NULL, &layer, sizeof layer, &err));
  treering_diff_free(diff);
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  OK(treering_layer_list_fd(fd, NULL, 0, NULL, &list, &err));
  treering_layer_list_free(list);
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  OK(treering_layer_apply_fd(store, fd, TREERING_PATH(in_scratch("applied")), NULL, 0, NULL, &applied, sizeof applied,
                             NULL, &err));
  CHECK(close(fd) == 0);
  OK(treering_snapshot_scan(TREERING_PATH(in_scratch("tree")), NULL, 0, NULL, &snapshot, NULL, &err));
  OK(treering_snapshot_save(snapshot, TREERING_PATH(in_scratch("snapshot")), &err));
  treering_snapshot_free(snapshot);
  OK(treering_snapshot_load(TREERING_PATH(in_scratch("snapshot")), &snapshot, &err));
  treering_snapshot_free(snapshot);
}

static void images(void) {
  treering_image *image = NULL;
  treering_walk *walk = NULL;
  treering_reader *reader = NULL;
  treering_edit_result edited;
  treering_edit_options options = {.squash = -1};
  uint8_t text[16];
  size_t n = 0;
  OK(treering_edit(store, "app:2", "app:flat", &options, sizeof options, NULL, &edited, sizeof edited, &err));
  OK(treering_image_open(store, "app:flat", NULL, &image, &err));
  OK(treering_image_list(image, NULL, 0, NULL, &walk, &err));
  treering_walk_free(walk);
  OK(treering_image_file(image, TREERING_PATH("file"), NULL, &reader, &err));
  OK(treering_reader_read(reader, text, sizeof text, &n, &err));
  CHECK(n == 7 && memcmp(text, "changed", 7) == 0);
  treering_reader_free(reader);
  treering_image_free(image);
}

static void archives(void) {
  const char *references[] = {"app:1", "app:2"};
  treering_loaded *loaded = NULL;
  treering_commit_result imported;
  treering_load_options ignore = {.names = "ignore"};
  int fd = opened("archive");
  OK(treering_archive_save_fd(store, references, 2, NULL, 0, fd, NULL, &err));
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  OK(treering_archive_load_fd(store, fd, &ignore, sizeof ignore, NULL, &loaded, &err));
  treering_loaded_free(loaded);
  CHECK(close(fd) == 0);
  fd = opened("exported");
  OK(treering_archive_export_fd(store, "app:2", NULL, 0, NULL, 0, fd, NULL, &err));
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  OK(treering_archive_import_fd(store, fd, "app:imported", NULL, 0, NULL, &imported, sizeof imported, &err));
  CHECK(close(fd) == 0);
}

static void keeping(void) {
  treering_refs *refs = NULL;
  treering_fsck_result checked;
  treering_prune_result pruned;
  treering_container *container = NULL;
  treering_container_options options = {.name = "box"};
  OK(treering_refs_tag(store, "app:1", "app:other", &err));
  OK(treering_refs_list(store, &refs, &err));
  CHECK(treering_refs_len(refs) == 5);
  treering_refs_free(refs);
  OK(treering_refs_untag(store, "app:other", &err));
  OK(treering_container_create(store, "app:2", &options, sizeof options, NULL, &container, &err));
  treering_container_free(container);
  OK(treering_store_prune(store, NULL, 0, NULL, &pruned, sizeof pruned, NULL, &err));
  OK(treering_store_fsck(store, NULL, NULL, &checked, sizeof checked, NULL, &err));
  CHECK(checked.problems == 0);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    snprintf(scratch_dir, sizeof scratch_dir, "%s", argv[1]);
    CHECK(mkdir(scratch_dir, 0700) == 0);
  } else {
    scratch();
  }
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  trees();
  layers();
  images();
  archives();
  keeping();
  treering_store_free(store);
  return 0;
}
