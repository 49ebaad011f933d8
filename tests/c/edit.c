/* Images out of images. */
#include "common.h"

static treering_error *err;
static treering_store *store;

/* Layers that are read from memory, a little at a time. */
struct memory {
  const uint8_t *data;
  size_t len, at;
};

static int32_t from_memory(void *userdata, uint8_t *buffer, size_t capacity, size_t *len) {
  struct memory *memory = userdata;
  size_t n = memory->len - memory->at;
  if (n > capacity) n = capacity;
  if (n > 100) n = 100;
  if (n > 0) memcpy(buffer, memory->data + memory->at, n);
  memory->at += n;
  *len = n;
  return 0;
}

static int32_t broken(void *userdata, uint8_t *buffer, size_t capacity, size_t *len) {
  (void)userdata, (void)buffer, (void)capacity, (void)len;
  return 42;
}

static void has_layers(const char *name, size_t count, const char *last) {
  treering_image *image = NULL;
  treering_layer layers[8];
  size_t n = 0;
  OK(treering_image_open(store, name, NULL, &image, &err));
  OK(treering_image_layers(image, 0, layers, sizeof layers[0], 8, &n, &err));
  CHECK(n == count);
  CHECK(last == NULL || strcmp(layers[n - 1].diff_id.text, last) == 0);
  treering_image_free(image);
}

int main(void) {
  const char *tree, *file;
  treering_commit_result first, second;
  treering_edit_result made;
  treering_diff *diff = NULL;
  treering_layer_result layer;
  static uint8_t bytes[1 << 16];
  scratch();
  tree = in_scratch("tree"), file = in_scratch("layer");
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  sh("mkdir '%s' && printf 1 >'%s/a'", tree, tree);
  OK(treering_commit(store, TREERING_PATH(tree), "app:1", NULL, 0, NULL, &first, sizeof first, NULL, &err));
  sh("printf 2 >'%s/b'", tree);
  OK(treering_diff_tree(store, TREERING_PATH(tree), NULL, NULL, 0, NULL, &diff, NULL, &err));
  int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  OK(treering_layer_write_fd(diff, NULL, 0, fd, NULL, &layer, sizeof layer, &err));
  treering_diff_free(diff);
  OK(treering_commit(store, TREERING_PATH(tree), "app:2", NULL, 0, NULL, &second, sizeof second, NULL, &err));

  /* Nothing asked for: a name more. */
  OK(treering_edit(store, "app:1", "app:again", NULL, 0, NULL, &made, sizeof made, &err));
  CHECK(strcmp(made.image_id.text, first.image_id.text) == 0 && made.layers == 1 && !made.has_squashed);
  CHECK(made.squashed_digest.text[0] == 0);

  /* Layers out of a descriptor and out of memory. */
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  ssize_t len = read(fd, bytes, sizeof bytes);
  CHECK(len > 0 && lseek(fd, 0, SEEK_SET) == 0);
  struct memory memory = {bytes, (size_t)len, 0};
  treering_edit_options options = {0};
  const treering_input layers[] = {{NULL, NULL, fd}, {from_memory, &memory, 0}};
  const treering_pair labels[] = {{"tier", "web"}};
  const char *changes[] = {"ENV A=b"};
  const int64_t when = 1700000000;
  options.append = layers, options.append_len = 2;
  options.labels = labels, options.labels_len = 1;
  options.changes = changes, options.changes_len = 1;
  options.created = &when, options.author = "me", options.message = "why";
  OK(treering_edit(store, "app:1", "app:more", &options, sizeof options, NULL, &made, sizeof made, &err));
  CHECK(made.layers == 3);
  has_layers("app:more", 3, layer.diff_id.text);
  treering_image *image = NULL;
  OK(treering_image_open(store, "app:more", NULL, &image, &err));
  size_t config_len = 0;
  const char *config = (const char *)treering_image_config(image, &config_len);
  const char *wanted[] = {"\"tier\":\"web\"", "A=b", "2023-11-14T22:13:20Z"};
  for (size_t i = 0; i < 3; i++) CHECK(memmem(config, config_len, wanted[i], strlen(wanted[i])) != NULL);
  treering_image_free(image);

  treering_edit_options one = {0};
  one.squash = -1, one.compression = "zstd";
  OK(treering_edit(store, "app:2", "app:one", &one, sizeof one, NULL, &made, sizeof made, &err));
  CHECK(made.layers == 1 && made.has_squashed && made.squashed_size > 0
        && made.squashed_diff_size > made.squashed_size);
  has_layers("app:one", 1, made.squashed_diff_id.text);

  treering_edit_options rebase = {0};
  const treering_pair bases = {"app:1", "app:one"};
  rebase.rebase = &bases;
  OK(treering_edit(store, "app:2", NULL, &rebase, sizeof rebase, NULL, &made, sizeof made, &err));
  CHECK(made.layers == 2);

  /* What cannot be. */
  treering_edit_options wrong = {0};
  wrong.drop_last = 2;
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_edit(store, "app:1", "app:x", &wrong, sizeof wrong, NULL, &made, sizeof made, &err));
  wrong = (treering_edit_options){0}, wrong.squash = -2;
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_edit(store, "app:1", "app:x", &wrong, sizeof wrong, NULL, &made, sizeof made, &err));
  wrong = (treering_edit_options){0}, wrong.append_len = 1;
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_edit(store, "app:1", "app:x", &wrong, sizeof wrong, NULL, &made, sizeof made, &err));
  const treering_input bad[] = {{NULL, NULL, 999}, {broken, NULL, 0}};
  wrong.append = bad;
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_edit(store, "app:1", "app:x", &wrong, sizeof wrong, NULL, &made, sizeof made, &err));
  wrong.append = bad + 1;
  CHECK(treering_edit(store, "app:1", "app:x", &wrong, sizeof wrong, NULL, &made, sizeof made, &err)
        == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == 42);
  treering_error_free(err);
  err = NULL;
  FAILS(TREERING_INVALID_ARGUMENT, treering_edit(store, "app:1", "app:x", NULL, 0, NULL, NULL, 0, &err));
  FAILS(TREERING_NOT_FOUND, treering_edit(store, "app:9", "app:x", NULL, 0, NULL, &made, sizeof made, &err));
  treering_control *control = NULL;
  OK(treering_control_new(&control, &err));
  OK(treering_control_cancel(control, &err));
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  memory.at = 0;
  FAILS(TREERING_CANCELLED,
        treering_edit(store, "app:1", "app:x", &options, sizeof options, control, &made, sizeof made, &err));
  treering_control_free(control);
  FAILS(TREERING_NOT_FOUND, treering_image_open(store, "app:x", NULL, &image, &err));
  close(fd);
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
