/* Images from Dockerfiles, and layers as streams. */
#include "common.h"

static treering_error *err;
static treering_store *store;

static void builds(void) {
  treering_build_result made, again;
  treering_build_options options = {0};
  const char *tags[] = {"app:1", "app:2"};
  const treering_pair arguments[] = {{"V", "7"}};
  const int64_t epoch = 0;
  treering_bytes *json = NULL;
  bool fails = false;
  sh("mkdir '%s' && printf content >'%s/f' && printf 'FROM scratch AS one\\nARG V=1\\nCOPY f /f\\nLABEL v=$V\\n' "
     ">'%s/Dockerfile'",
     in_scratch("context"), in_scratch("context"), in_scratch("context"));
  options.context = (treering_slice){TREERING_PATH(in_scratch("context"))};
  options.tags = tags, options.tags_len = 2;
  options.build_args = arguments, options.build_args_len = 1;
  options.source_date_epoch = &epoch;
  treering_control *control = NULL;
  treering_event *event = NULL;
  treering_event_data data;
  bool started = false;
  OK(treering_control_new(&control, &err));
  OK(treering_control_enable_events(control, 0, &err));
  OK(treering_build(store, &options, sizeof options, control, &made, sizeof made, &err));
  for (;;) {
    OK(treering_control_next_event(control, 0, &event, &data, sizeof data, &err));
    if (event == NULL) break;
    started = started || data.kind == TREERING_EVENT_STARTED;
    treering_event_free(event);
  }
  CHECK(started && made.carried_out > 0 && made.cached == 0 && made.warnings == 0);
  OK(treering_build(store, &options, sizeof options, NULL, &again, sizeof again, &err));
  CHECK(strcmp(made.image_id.text, again.image_id.text) == 0 && again.carried_out == 0);
  treering_resolved found;
  OK(treering_refs_resolve(store, "app:2", &found, sizeof found, &err));
  CHECK(strcmp(found.digest.text, made.manifest.text) == 0);
  OK(treering_build_targets(store, &options, sizeof options, NULL, &json, &err));
  CHECK(strstr((const char *)treering_bytes_data(json), "\"one\"") != NULL && treering_bytes_free(json) == TREERING_OK);
  OK(treering_build_outline(store, &options, sizeof options, NULL, &json, &err));
  CHECK(strstr((const char *)treering_bytes_data(json), "\"V\"") != NULL && treering_bytes_free(json) == TREERING_OK);

  options.provenance = "mode=max", options.sbom = true;
  OK(treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err));
  CHECK(strcmp(made.image_id.text, again.image_id.text) == 0 && strcmp(made.manifest.text, again.manifest.text) != 0);
  options.provenance = "most";
  FAILS(TREERING_INVALID_ARGUMENT, treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err));
  options.provenance = NULL, options.sbom = false;

  treering_build_options text = {0};
  text.dockerfile_text = (treering_slice){TREERING_PATH("# check=error=true\nFROM scratch\nMAINTAINER me\n")};
  OK(treering_build_check(store, &text, sizeof text, NULL, &fails, &json, &err));
  CHECK(fails && strstr((const char *)treering_bytes_data(json), "MaintainerDeprecated") != NULL);
  treering_bytes_free(json);
  text.dockerfile_text = (treering_slice){TREERING_PATH("FROM scratch\nNOPE x\n")};
  treering_location at;
  CHECK(treering_build(store, &text, sizeof text, NULL, &made, sizeof made, &err) == TREERING_SYNTAX);
  CHECK(treering_error_location(err, &at, sizeof at) && at.line == 2);
  treering_error_free(err);
  err = NULL;
  text.dockerfile = text.dockerfile_text;
  FAILS(TREERING_INVALID_ARGUMENT, treering_build(store, &text, sizeof text, NULL, &made, sizeof made, &err));
  OK(treering_control_cancel(control, &err));
  FAILS(TREERING_CANCELLED, treering_build(store, &options, sizeof options, control, &made, sizeof made, &err));
  treering_control_free(control);
}

static int finalized;
static void finalize(void *userdata) { (void)userdata, finalized++; }

static int32_t from_reader(void *userdata, uint8_t *buffer, size_t capacity, size_t *len) {
  return treering_reader_read(userdata, buffer, capacity, len, NULL) == TREERING_OK ? 0 : 5;
}

/* The entries of a layer, with how long they are when they are read. */
static void expect(treering_layer_files *files, const char *expected) {
  char text[256] = "";
  treering_layer_entry entry;
  uint8_t buffer[1000];
  size_t n = 0;
  bool more = false;
  for (;;) {
    OK(treering_layer_files_next(files, &entry, sizeof entry, &more, &err));
    if (!more) break;
    size_t total = 0;
    do {
      OK(treering_layer_files_read(files, buffer, sizeof buffer, &n, &err));
      total += n;
    } while (n > 0);
    snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s:%zu ", (int)entry.path_len,
             (const char *)entry.path, total);
  }
  OK(treering_layer_files_next(files, &entry, sizeof entry, &more, &err));
  CHECK(!more && treering_layer_files_free(files) == TREERING_OK);
  if (strcmp(text, expected) != 0) {
    fprintf(stderr, "expected %s, got %s\n", expected, text);
    exit(1);
  }
}

static void layers(void) {
  const char *tree = in_scratch("tree");
  treering_commit_result made;
  treering_image *image = NULL;
  treering_reader *reader = NULL;
  treering_layer_files *files = NULL;
  treering_layer_entry entry;
  treering_xattr xattrs[2];
  size_t n = 0;
  bool more = false;
  sh("mkdir '%s' && printf first >'%s/a' && head -c 300000 /dev/zero >'%s/b' && ln -s a '%s/l'", tree, tree, tree,
     tree);
  OK(treering_commit(store, TREERING_PATH(tree), "layers:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  OK(treering_image_open(store, "layers:1", NULL, &image, &err));
  const char *names[] = {"blob", "tar"};
  const char *sums[] = {made.layer_digest.text, made.layer_diff_id.text};
  for (int tar = 0; tar < 2; tar++) {
    OK(treering_image_layer(image, 0, tar != 0, NULL, &reader, &err));
    int fd = open(in_scratch(names[tar]), O_WRONLY | O_CREAT | O_EXCL, 0600);
    OK(treering_reader_copy_fd(reader, fd, NULL, NULL, &err));
    CHECK(close(fd) == 0 && treering_reader_free(reader) == TREERING_OK);
    sh("[ \"sha256:$(sha256sum <'%s' | cut -d' ' -f1)\" = %s ]", in_scratch(names[tar]), sums[tar]);
  }
  FAILS(TREERING_INVALID_ARGUMENT, treering_image_layer(image, 1, false, NULL, &reader, &err));

  OK(treering_layer_files_image(image, 0, NULL, 0, NULL, &files, &err));
  expect(files, ":0 a:5 b:300000 l:0 ");
  int fd = open(in_scratch("blob"), O_RDONLY);
  OK(treering_layer_files_fd(fd, NULL, 0, NULL, &files, &err));
  CHECK(close(fd) == 0);
  expect(files, ":0 a:5 b:300000 l:0 ");
  OK(treering_image_layer(image, 0, false, NULL, &reader, &err));
  OK(treering_layer_files_callback(from_reader, reader, finalize, NULL, 0, NULL, &files, &err));
  CHECK(finalized == 0);
  expect(files, ":0 a:5 b:300000 l:0 ");
  CHECK(finalized == 1 && treering_reader_free(reader) == TREERING_OK);
  FAILS(TREERING_INVALID_ARGUMENT, treering_layer_files_callback(NULL, NULL, finalize, NULL, 0, NULL, &files, &err));
  CHECK(finalized == 2);

  /* Left in the middle, and cancelled there. */
  treering_control *control = NULL;
  OK(treering_control_new(&control, &err));
  OK(treering_layer_files_image(image, 0, NULL, 0, control, &files, &err));
  OK(treering_layer_files_next(files, &entry, sizeof entry, &more, &err));
  OK(treering_layer_files_xattrs(files, 0, xattrs, sizeof xattrs[0], 2, &n, &err));
  CHECK(more && n == entry.xattrs);
  OK(treering_control_cancel(control, &err));
  FAILS(TREERING_CANCELLED, treering_layer_files_next(files, &entry, sizeof entry, &more, &err));
  CHECK(treering_layer_files_free(files) == TREERING_OK && treering_control_free(control) == TREERING_OK);
  CHECK(treering_image_free(image) == TREERING_OK);
}

int main(void) {
  scratch();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  builds();
  layers();
  CHECK(treering_store_free(store) == TREERING_OK);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
