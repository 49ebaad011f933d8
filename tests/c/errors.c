/* Bad use gets a status and an error object: never an abort, never a leak. */
#include "common.h"

static int finalized;

static void finalizer(void *userdata) {
  CHECK(userdata == &finalized);
  finalized++;
}

static int32_t refuse(void *userdata, const uint8_t *data, size_t len) {
  CHECK(userdata == &finalized && data != NULL && len > 0);
  return -42;
}

static int32_t lie(void *userdata, uint8_t *buffer, size_t capacity, size_t *len) {
  (void)userdata;
  (void)buffer;
  *len = capacity + 1;
  return 0;
}

static int32_t give_up(void *userdata, uint8_t *buffer, size_t capacity, size_t *len) {
  (void)userdata;
  (void)buffer;
  (void)capacity;
  (void)len;
  return 7;
}

static void panics(void) {
  treering_error *err = NULL;
  CHECK(treering_test_panic(&err) == TREERING_INTERNAL);
  CHECK(strcmp(treering_error_kind(err), "internal") == 0);
  CHECK(strstr(treering_error_text(err), "treering_test_panic") != NULL);
  CHECK(treering_error_hint(err) != NULL);
  CHECK(treering_error_free(err) == TREERING_OK);
  CHECK(treering_test_panic(NULL) == TREERING_INTERNAL);
}

static void an_error_says_everything(void) {
  treering_error *err = NULL;
  treering_store *store = (treering_store *)&err;
  size_t len = 99;
  const char *file = in_scratch("caf\xe9");
  sh("echo x >'%s'", file);
  CHECK(treering_store_open(TREERING_PATH(file), NULL, 0, &store, &err) != TREERING_OK);
  CHECK(store == (treering_store *)&err); /* outputs are written only on success */
  CHECK(strlen(treering_error_operation(err)) > 0);
  const uint8_t *path = treering_error_path(err, &len);
  CHECK(len == strlen(file) && memcmp(path, file, len) == 0 && path[len] == 0);
  CHECK(strstr(treering_error_text(err), "caf\\xe9") != NULL);
  CHECK(treering_error_cause(err, 0) != NULL);
  CHECK(treering_error_cause(err, 1000) == NULL);
  CHECK(treering_error_callback_code(err) == 0);
  CHECK(treering_error_free(err) == TREERING_OK);
  CHECK(treering_error_free(err) == TREERING_INVALID_ARGUMENT);
  CHECK(treering_error_message(err) == NULL);
  CHECK(treering_error_status(NULL) == TREERING_INVALID_ARGUMENT);
  CHECK(treering_error_path(NULL, NULL) == NULL);
}

static void handles(void) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_control *control = NULL;
  treering_refs *refs = NULL;
  treering_image *image = NULL;
  treering_progress progress;
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_control_new(&control, &err));

  CHECK(treering_image_open(store, "absent", NULL, &image, &err) == TREERING_NOT_FOUND);
  CHECK(strstr(treering_error_hint(err), "treering_refs_list() lists") != NULL);
  CHECK(strstr(treering_error_hint_for_go(err), "Store.Refs lists") != NULL);
  CHECK(treering_error_free(err) == TREERING_OK);
  err = NULL;

  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list(NULL, &refs, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list((treering_store *)control, &refs, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list((treering_store *)(uintptr_t)8, &refs, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list((treering_store *)"not a store", &refs, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list(store, NULL, &err));
  CHECK(treering_refs_list(store, NULL, NULL) == TREERING_INVALID_ARGUMENT);
  CHECK(treering_store_free((treering_store *)control) == TREERING_INVALID_ARGUMENT);
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_progress(control, &progress, 0, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_progress(control, NULL, sizeof progress, &err));
  OK(treering_control_progress(control, &progress, sizeof progress, &err));

  CHECK(treering_control_free(control) == TREERING_OK);
  CHECK(treering_control_free(control) == TREERING_INVALID_ARGUMENT);
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_cancel(control, &err));
  CHECK(treering_store_free(store) == TREERING_OK);
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_list(store, &refs, &err));
  CHECK(treering_store_free(store) == TREERING_INVALID_ARGUMENT);
  CHECK(treering_store_path(store, NULL) == NULL);
  CHECK(refs == NULL);

  CHECK(treering_store_free(NULL) == TREERING_OK && treering_control_free(NULL) == TREERING_OK);
  CHECK(treering_bytes_free(NULL) == TREERING_OK && treering_report_free(NULL) == TREERING_OK);
  CHECK(treering_image_free(NULL) == TREERING_OK && treering_snapshot_free(NULL) == TREERING_OK);
  CHECK(treering_walk_free(NULL) == TREERING_OK && treering_diff_free(NULL) == TREERING_OK);
  CHECK(treering_refs_free(NULL) == TREERING_OK && treering_loaded_free(NULL) == TREERING_OK);
  CHECK(treering_error_free(NULL) == TREERING_OK);
  CHECK(treering_image_layer_count(NULL) == 0 && treering_image_id(NULL).text[0] == 0);
  CHECK(treering_bytes_data(NULL) == NULL && treering_snapshot_len(NULL) == 0);
}

static void texts(void) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_image *image = NULL;
  treering_commit_result made;
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_open(store, "caf\xe9", NULL, &image, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_open(store, NULL, NULL, &image, &err));
  FAILS(TREERING_NOT_FOUND, treering_image_open(store, "nothing", NULL, &image, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_open(store, "nothing", "a/b/c/d", &image, &err));

  const uint8_t nul[] = {'a', 0, 'b'};
  FAILS(TREERING_INVALID_ARGUMENT, treering_commit(store, nul, 3, NULL, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_commit(store, NULL, 3, NULL, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_commit(store, nul, (size_t)-1, NULL, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  FAILS(TREERING_NOT_FOUND,
        treering_commit(store, TREERING_PATH("/none/such"), NULL, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_store_free(store);
}

/* Options that cannot be: the call that reads them says so. */
static void options(void) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_commit_result made;
  const char *empty = in_scratch("empty");
  const treering_pair half = {"key", NULL};
  const char *const from[] = {"FROM nothing"}, *const null[] = {NULL};
  const treering_commit_options bad[] = {
      {.author = "\xff"},
      {.compression = "zip"},
      {.compression = "gzip", .level = 99},
      {.owner = "me"},
      {.annotations = &half, .annotations_len = 1},
      {.annotations_len = 1},
      {.changes = from, .changes_len = 1},
      {.changes = null, .changes_len = 1},
      {.changes = from, .changes_len = SIZE_MAX},
      {.lowers_len = 1},
      {.created = (const int64_t *)(uintptr_t)1},
      {.owner_from = {NULL, 3}},
  };
  sh("mkdir '%s'", empty);
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    FAILS(TREERING_INVALID_ARGUMENT, treering_commit(store, TREERING_PATH(empty), NULL, &bad[i], sizeof bad[i], NULL,
                                                     &made, sizeof made, NULL, &err));
  }

  /* Of an older header: what it does not have is the default. Of a newer one: what is new must not be set. */
  struct {
    treering_commit_options known;
    uint64_t newer[2];
  } longer = {{.base = "scratch"}, {0, 0}};
  const treering_commit_options *seen = &longer.known;
  OK(treering_commit(store, TREERING_PATH(empty), NULL, seen, sizeof longer, NULL, &made, sizeof made, NULL, &err));
  longer.newer[1] = 1;
  FAILS(TREERING_UNSUPPORTED,
        treering_commit(store, TREERING_PATH(empty), NULL, seen, sizeof longer, NULL, &made, sizeof made, NULL, &err));
  longer.known.author = "\xff";
  size_t shorter = offsetof(treering_commit_options, author);
  OK(treering_commit(store, TREERING_PATH(empty), NULL, seen, shorter, NULL, &made, sizeof made, NULL, &err));
  for (size_t size = 0; size < 8; size++) {
    FAILS(TREERING_INVALID_ARGUMENT,
          treering_commit(store, TREERING_PATH(empty), NULL, seen, size, NULL, &made, sizeof made, NULL, &err));
  }
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_commit(store, TREERING_PATH(empty), NULL, seen, SIZE_MAX, NULL, &made, sizeof made, NULL, &err));
  OK(treering_commit(store, TREERING_PATH(empty), NULL, NULL, SIZE_MAX, NULL, &made, sizeof made, NULL, &err));

  /* Handles in options are looked up as all are. */
  treering_snapshot *snapshot = NULL;
  const treering_scan_options scan = {.store = (treering_store *)(uintptr_t)16},
                              previous = {.previous = (const treering_snapshot *)store};
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_snapshot_scan(TREERING_PATH(empty), &scan, sizeof scan, NULL, &snapshot, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_snapshot_scan(TREERING_PATH(empty), &previous, sizeof previous, NULL, &snapshot, NULL, &err));
  treering_store_free(store);
}

static void callbacks(void) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_layer_result written;
  treering_apply_result applied;
  sh("mkdir '%s' && echo 1 >'%s/f'", in_scratch("t"), in_scratch("t"));
  OK(treering_diff_tree(NULL, TREERING_PATH(in_scratch("t")), "scratch", NULL, 0, NULL, &diff, NULL, &err));

  CHECK(
      treering_layer_write_callback(diff, NULL, 0, refuse, &finalized, finalizer, NULL, &written, sizeof written, &err)
      == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == -42 && finalized == 1);
  treering_error_free(err);
  err = NULL;

  /* The finalizer is called also when an argument was refused. */
  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_write_callback(diff, NULL, 0, NULL, &finalized, finalizer, NULL,
                                                                 &written, sizeof written, &err));
  CHECK(finalized == 2);
  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_write_callback(NULL, NULL, 0, refuse, &finalized, finalizer, NULL,
                                                                 &written, sizeof written, &err));
  CHECK(finalized == 3);
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_layer_write_callback(diff, NULL, 0, refuse, &finalized, finalizer, NULL, NULL, 0, &err));
  CHECK(finalized == 4);
  FAILS(TREERING_CALLBACK,
        treering_layer_apply_callback(NULL, lie, &finalized, finalizer, TREERING_PATH(in_scratch("u")), NULL, 0, NULL,
                                      &applied, sizeof applied, NULL, &err));
  CHECK(finalized == 5);
  CHECK(treering_layer_apply_callback(NULL, give_up, &finalized, finalizer, TREERING_PATH(in_scratch("u")), NULL, 0,
                                      NULL, &applied, sizeof applied, NULL, &err)
        == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == 7 && finalized == 6);
  treering_error_free(err);
  err = NULL;

  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_write_fd(diff, NULL, 0, -1, NULL, &written, sizeof written, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_write_fd(diff, NULL, 0, 1000, NULL, &written, sizeof written, &err));
  int fd = open("/dev/full", O_WRONLY);
  FAILS(TREERING_NO_SPACE, treering_layer_write_fd(diff, NULL, 0, fd, NULL, &written, sizeof written, &err));
  close(fd);
  treering_diff_free(diff);
}

int main(void) {
  scratch();
  CHECK(treering_abi_version() == TREERING_ABI_VERSION);
  CHECK(strlen(treering_version()) >= 5);
  panics();
  an_error_says_everything();
  handles();
  texts();
  options();
  callbacks();
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
