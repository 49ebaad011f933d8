/* Layers and archives, to and from descriptors and callbacks: the same bytes either way. */
#include "common.h"

static treering_error *err;

/* A file in memory. */
struct buffer {
  uint8_t *data;
  size_t len, room, at;
  int finalized;
};

static int32_t put(void *userdata, const uint8_t *data, size_t len) {
  struct buffer *buffer = userdata;
  if (buffer->len + len > buffer->room) {
    buffer->room = (buffer->len + len) * 2;
    buffer->data = realloc(buffer->data, buffer->room);
    if (buffer->data == NULL) return 1;
  }
  memcpy(buffer->data + buffer->len, data, len);
  buffer->len += len;
  return 0;
}

static int32_t take(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  struct buffer *buffer = userdata;
  size_t n = buffer->len - buffer->at;
  if (n > capacity) n = capacity;
  if (n > 1000) n = 1000; /* short reads are fine */
  memcpy(data, buffer->data + buffer->at, n);
  buffer->at += n;
  *len = n;
  return 0;
}

static void done(void *userdata) { ((struct buffer *)userdata)->finalized++; }

/* Each cap of a list, a little below what the layer asks for and then enough. */
static void list_caps(void) {
  treering_layer_list_options options = {0};
  uint64_t *caps[] = {&options.max_bytes, &options.max_entries, &options.max_memory};
  uint64_t little[] = {1000, 2, 100}, enough[] = {1 << 30, 100, 1 << 20};
  treering_layer_list *list = NULL;
  options.max_ratio = 1000;
  int fd = open(in_scratch("layer"), O_RDONLY);
  for (int i = 0; i < 3; i++) {
    lseek(fd, 0, SEEK_SET);
    *caps[i] = little[i];
    FAILS(TREERING_LIMIT, treering_layer_list_fd(fd, &options, sizeof options, NULL, &list, &err));
    lseek(fd, 0, SEEK_SET);
    *caps[i] = enough[i];
    OK(treering_layer_list_fd(fd, &options, sizeof options, NULL, &list, &err));
    treering_layer_list_free(list);
    list = NULL;
  }
  close(fd);
  /* Small, and 70 MB of something that is not zeros. */
  sh("mkdir '%s' && yes | head -c 70000000 >'%s/f' && tar -C '%s' -czf '%s' . && rm -r '%s'", in_scratch("xs"),
     in_scratch("xs"), in_scratch("xs"), in_scratch("xs.tar.gz"), in_scratch("xs"));
  options = (treering_layer_list_options){.max_ratio = 10};
  fd = open(in_scratch("xs.tar.gz"), O_RDONLY);
  FAILS(TREERING_LIMIT, treering_layer_list_fd(fd, &options, sizeof options, NULL, &list, &err));
  lseek(fd, 0, SEEK_SET);
  options.max_ratio = 100000;
  OK(treering_layer_list_fd(fd, &options, sizeof options, NULL, &list, &err));
  close(fd);
  treering_layer_list_free(list);
}

static void layers(void) {
  const char *tree = in_scratch("tree");
  treering_diff *diff = NULL;
  treering_layer_options options = {0};
  treering_layer_result to_fd, to_callback;
  treering_apply_result applied;
  struct buffer buffer = {0};
  sh("mkdir -p '%s/d' && head -c 300000 /dev/urandom >'%s/d/big' && echo x >'%s/x'", tree, tree, tree);
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  options.compression = "zstd", options.level = 0;
  options.nanoseconds = true;
  options.threads = 2;
  options.clamp_mtime = &(const int64_t){1900000000};
  int fd = open(in_scratch("layer"), O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0);
  OK(treering_layer_write_fd(diff, &options, sizeof options, fd, NULL, &to_fd, sizeof to_fd, &err));
  CHECK((uint64_t)lseek(fd, 0, SEEK_CUR) == to_fd.size && to_fd.entries == 4);
  OK(treering_layer_write_callback(diff, &options, sizeof options, put, &buffer, done, NULL, &to_callback,
                                   sizeof to_callback, &err));
  CHECK(buffer.finalized == 1 && buffer.len == to_fd.size);
  CHECK(strcmp(to_fd.digest.text, to_callback.digest.text) == 0);
  CHECK(strcmp(to_fd.diff_id.text, to_callback.diff_id.text) == 0);
  sh("test \"sha256:$(sha256sum <'%s' | cut -d' ' -f1)\" = %s", in_scratch("layer"), to_fd.digest.text);

  lseek(fd, 0, SEEK_SET);
  OK(treering_layer_apply_fd(NULL, fd, TREERING_PATH(in_scratch("one")), NULL, 0, NULL, &applied, sizeof applied, NULL,
                             &err));
  CHECK(strcmp(applied.digest.text, to_fd.digest.text) == 0 && strcmp(applied.diff_id.text, to_fd.diff_id.text) == 0);
  CHECK(applied.entries == 3 && applied.losses == 0 && applied.diff_size == to_fd.diff_size);
  CHECK(fcntl(fd, F_GETFD) >= 0); /* still open, still ours */
  close(fd);
  treering_report *report = NULL;
  sh("mkdir '%s' && echo old >'%s/x' && echo stays >'%s/y'", in_scratch("two"), in_scratch("two"), in_scratch("two"));
  OK(treering_layer_apply_callback(NULL, take, &buffer, done, TREERING_PATH(in_scratch("two")), NULL, 0, NULL, &applied,
                                   sizeof applied, &report, &err));
  CHECK(buffer.finalized == 2 && applied.entries == 4 && treering_report_len(report) == 0);
  treering_report_free(report);
  sh("cmp '%s/d/big' '%s/d/big' && test \"$(cat '%s/x' '%s/y' | tr '\\n' ' ')\" = 'x stays '", tree, in_scratch("two"),
     in_scratch("two"), in_scratch("two"));

  treering_layer_list *list = NULL, *again = NULL;
  treering_layer_entry entry[4];
  treering_xattr xattr;
  size_t n = 0;
  buffer.at = 0;
  OK(treering_layer_list_callback(take, &buffer, done, NULL, 0, NULL, &list, &err));
  CHECK(buffer.finalized == 3 && treering_layer_list_len(list) == 4);
  fd = open(in_scratch("layer"), O_RDONLY);
  OK(treering_layer_list_fd(fd, NULL, 0, NULL, &again, &err));
  close(fd);
  OK(treering_layer_list_get(list, 1, entry, sizeof entry[0], 4, &n, &err));
  CHECK(n == 3 && entry[1].path_len == 5 && memcmp(entry[1].path, "d/big", 5) == 0);
  CHECK(entry[1].kind == TREERING_FILE && entry[1].size == 300000 && entry[0].kind == TREERING_DIRECTORY);
  OK(treering_layer_list_get(list, 4, entry, sizeof entry[0], 4, &n, &err));
  CHECK(n == 0 && treering_layer_list_len(again) == 4);
  OK(treering_layer_list_xattrs(list, 1, 0, &xattr, sizeof xattr, 1, &n, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_list_xattrs(list, 4, 0, &xattr, sizeof xattr, 1, &n, &err));
  CHECK(treering_layer_list_free(list) == TREERING_OK && treering_layer_list_free(again) == TREERING_OK);
  CHECK(treering_layer_list_free(list) == TREERING_INVALID_ARGUMENT);
  list_caps();

  /* Half a layer is an error. */
  buffer.at = 0;
  buffer.len /= 2;
  FAILS(TREERING_CORRUPT, treering_layer_apply_callback(NULL, take, &buffer, NULL, TREERING_PATH(in_scratch("three")),
                                                        NULL, 0, NULL, &applied, sizeof applied, NULL, &err));
  buffer.at = 0;
  FAILS(TREERING_CORRUPT, treering_layer_list_callback(take, &buffer, NULL, NULL, 0, NULL, &list, &err));

  /* A file that changes after it was compared is one too. */
  sh("echo more >>'%s/x'", tree);
  buffer.len = 0;
  FAILS(TREERING_CHANGED, treering_layer_write_callback(diff, &options, sizeof options, put, &buffer, NULL, NULL,
                                                        &to_callback, sizeof to_callback, &err));
  treering_diff_free(diff);
  free(buffer.data);
}

/* What the disk does not take of a layer, the store keeps, when it has a record of the directory. */
static void owners(void) {
  const char *tree = in_scratch("owned"), *work = in_scratch("work");
  treering_store *store = NULL;
  treering_diff *diff = NULL;
  treering_diff_options options = {0};
  treering_snapshot *now = NULL;
  treering_commit_result made;
  treering_unpack_result unpacked;
  treering_layer_result written;
  treering_apply_result applied;
  treering_entry entry;
  sh("mkdir '%s' && echo x >'%s/x'", tree, tree);
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_commit(store, TREERING_PATH(tree), "owned:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  OK(treering_unpack(store, "owned:1", TREERING_PATH(work), NULL, 0, NULL, &unpacked, sizeof unpacked, NULL, &err));
  sh("echo y >'%s/y'", tree);
  options.owner = "12:34";
  OK(treering_diff_trees(NULL, TREERING_PATH(work), TREERING_PATH(tree), &options, sizeof options, NULL, &diff, NULL,
                         &err));
  int fd = open(in_scratch("owned.tar"), O_RDWR | O_CREAT, 0600);
  OK(treering_layer_write_fd(diff, NULL, 0, fd, NULL, &written, sizeof written, &err));
  treering_diff_free(diff);
  lseek(fd, 0, SEEK_SET);
  OK(treering_layer_apply_fd(store, fd, TREERING_PATH(work), NULL, 0, NULL, &applied, sizeof applied, NULL, &err));
  CHECK(applied.unkept == 0);
  close(fd);
  OK(treering_diff_tree(store, TREERING_PATH(work), NULL, NULL, 0, NULL, &diff, NULL, &err));
  OK(treering_diff_new_snapshot(diff, &now, &err));
  OK(treering_snapshot_lookup(now, TREERING_PATH("y"), &entry, sizeof entry, &err));
  CHECK(entry.uid == 12 && entry.gid == 34);
  treering_snapshot_free(now);
  treering_diff_free(diff);
  treering_store_free(store);
}

static void archives(void) {
  treering_store *store = NULL, *other = NULL;
  treering_commit_result made;
  treering_loaded *loaded = NULL;
  treering_loaded_image image;
  size_t n = 0;
  struct buffer buffer = {0};
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_store_open(TREERING_PATH(in_scratch("other")), NULL, 0, &other, &err));
  OK(treering_commit(store, TREERING_PATH(in_scratch("tree")), "app:v1", NULL, 0, NULL, &made, sizeof made, NULL,
                     &err));

  const char *names[] = {"app:v1"};
  treering_save_options saving = {.format = "oci-archive"};
  OK(treering_archive_save_callback(store, names, 1, &saving, sizeof saving, put, &buffer, done, NULL, &err));
  CHECK(buffer.finalized == 1);
  OK(treering_archive_load_callback(other, take, &buffer, done, NULL, 0, NULL, &loaded, &err));
  CHECK(buffer.finalized == 2 && treering_loaded_len(loaded) == 1);
  OK(treering_loaded_get(loaded, 0, &image, sizeof image, 1, &n, &err));
  CHECK(n == 1 && strcmp(image.name, "app:v1") == 0 && strcmp(image.image_id.text, made.image_id.text) == 0);
  CHECK(strcmp(image.manifest.text, made.manifest.text) == 0);
  treering_loaded_free(loaded);

  int fd = open(in_scratch("app.tar"), O_RDWR | O_CREAT, 0600);
  OK(treering_archive_save_fd(store, names, 1, NULL, 0, fd, NULL, &err));
  lseek(fd, 0, SEEK_SET);
  treering_load_options load = {0};
  load.names = "ignore";
  OK(treering_archive_load_fd(other, fd, &load, sizeof load, NULL, &loaded, &err));
  OK(treering_loaded_get(loaded, 0, &image, sizeof image, 1, &n, &err));
  CHECK(n == 1 && image.name == NULL && strcmp(image.image_id.text, made.image_id.text) == 0);
  treering_loaded_free(loaded);
  load.names = "maybe";
  FAILS(TREERING_INVALID_ARGUMENT, treering_archive_load_fd(other, fd, &load, sizeof load, NULL, &loaded, &err));
  load.names = "ignore";
  load.max_entries = 2;
  lseek(fd, 0, SEEK_SET);
  FAILS(TREERING_LIMIT, treering_archive_load_fd(other, fd, &load, sizeof load, NULL, &loaded, &err));
  load.max_entries = 1000;
  load.max_bytes = 1000;
  lseek(fd, 0, SEEK_SET);
  FAILS(TREERING_LIMIT, treering_archive_load_fd(other, fd, &load, sizeof load, NULL, &loaded, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_archive_save_fd(store, names, 0, NULL, 0, fd, NULL, &err));
  saving.format = "zip";
  FAILS(TREERING_INVALID_ARGUMENT, treering_archive_save_fd(store, names, 1, &saving, sizeof saving, fd, NULL, &err));
  saving = (treering_save_options){.platform = "plan9/68k"};
  FAILS(TREERING_NOT_FOUND, treering_archive_save_fd(store, names, 1, &saving, sizeof saving, fd, NULL, &err));
  names[0] = "absent";
  FAILS(TREERING_NOT_FOUND, treering_archive_save_fd(store, names, 1, NULL, 0, fd, NULL, &err));
  close(fd);

  /* Out as a plain tar, and in again as an image. */
  treering_export_options out = {0};
  treering_import_options in = {0};
  out.owner = "root";
  out.threads = 2;
  out.clamp_mtime = &(const int64_t){1900000000};
  in.changes = (const char *const[]){"CMD [\"/x\"]"}, in.changes_len = 1;
  in.threads = 2;
  in.message = "imported";
  in.author = "me";
  in.platform = "linux/amd64";
  in.created = &(const int64_t){1700000000};
  in.compression = "gzip", in.level = 1;
  buffer.len = buffer.at = 0;
  OK(treering_archive_export_callback(store, "app:v1", NULL, 0, &out, sizeof out, put, &buffer, done, NULL, &err));
  CHECK(buffer.finalized == 3);
  treering_commit_result from_callback, from_fd;
  OK(treering_archive_import_callback(other, take, &buffer, done, "in:1", &in, sizeof in, NULL, &from_callback,
                                      sizeof from_callback, &err));
  CHECK(buffer.finalized == 4 && from_callback.has_layer);
  fd = open(in_scratch("plain.tar"), O_RDWR | O_CREAT, 0600);
  OK(treering_archive_export_fd(store, "app:v1", NULL, 0, &out, sizeof out, fd, NULL, &err));
  lseek(fd, 0, SEEK_SET);
  OK(treering_archive_import_fd(other, fd, "in:2", &in, sizeof in, NULL, &from_fd, sizeof from_fd, &err));
  CHECK(strcmp(from_fd.image_id.text, from_callback.image_id.text) == 0);
  in.max_bytes = 1000;
  lseek(fd, 0, SEEK_SET);
  FAILS(TREERING_LIMIT,
        treering_archive_import_fd(other, fd, "in:3", &in, sizeof in, NULL, &from_fd, sizeof from_fd, &err));
  in.max_bytes = 1 << 30;
  in.max_entries = 1;
  lseek(fd, 0, SEEK_SET);
  FAILS(TREERING_LIMIT,
        treering_archive_import_fd(other, fd, "in:3", &in, sizeof in, NULL, &from_fd, sizeof from_fd, &err));
  OK(treering_archive_export_fd(store, NULL, TREERING_PATH(in_scratch("tree")), &out, sizeof out, fd, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_archive_export_fd(store, NULL, NULL, 0, &out, sizeof out, fd, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_archive_export_fd(store, "a", TREERING_PATH("/tmp"), &out, sizeof out, fd, NULL, &err));
  close(fd);
  free(buffer.data);
  treering_store_free(store);
  treering_store_free(other);
}

int main(void) {
  scratch();
  layers();
  owners();
  archives();
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
