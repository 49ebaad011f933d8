/* A directory becomes an image and comes back; the store, its names, and what is said about images. */
#include "common.h"

static void contains(treering_bytes *json, const char *text) {
  const char *data = (const char *)treering_bytes_data(json);
  CHECK(strlen(data) == treering_bytes_len(json)); /* a NUL stands behind */
  if (strstr(data, text) == NULL) {
    fprintf(stderr, "%s is not in %s\n", text, data);
    exit(1);
  }
  CHECK(treering_bytes_free(json) == TREERING_OK);
}

static treering_store *store;
static treering_error *err;

static treering_commit_result commit(const char *tree, const char *name, const treering_commit_options *options) {
  treering_commit_result made;
  memset(&made, 0xff, sizeof made);
  OK(treering_commit(store, TREERING_PATH(tree), name, options, sizeof *options, NULL, &made, sizeof made, NULL, &err));
  return made;
}

static void commits(void) {
  treering_commit_options options = {0};
  options.base = "scratch";
  options.created = &(const int64_t){1700000000};
  options.clamp_mtime = &(const int64_t){1700000000};
  options.compression = "zstd", options.level = 3;
  options.author = "me";
  options.message = "First";
  options.changes = (const char *const[]){"CMD [\"/hello\"]", "ENV A=1"}, options.changes_len = 2;
  options.platform = "linux/arm64";
  options.annotations = &(const treering_pair){"org.example.key", "value"}, options.annotations_len = 1;
  options.compare = "content";
  options.owner = "7:8";
  options.threads = 2;

  const char *tree = in_scratch("tree");
  sh("mkdir -p '%s/d' && printf 'world\\n' >'%s/hello' && ln -s hello '%s/link'", tree, tree, tree);
  sh("touch -h -d 2023-01-01T00:00:00Z '%s/d' '%s/hello' '%s/link' '%s'", tree, tree, tree, tree);
  treering_commit_result first = commit(tree, "app:v1", &options);
  CHECK(first.has_layer && first.added == 3 && first.changed == 0 && first.deleted == 0 && first.bytes == 6);
  CHECK(strncmp(first.image_id.text, "sha256:", 7) == 0 && strlen(first.image_id.text) == 71);
  treering_commit_result again = commit(tree, NULL, &options);
  CHECK(strcmp(first.image_id.text, again.image_id.text) == 0);
  CHECK(strcmp(first.layer_digest.text, again.layer_digest.text) == 0);

  /* An older program has a shorter structure, a newer one a longer. */
  struct {
    treering_digest manifest;
    char canary;
  } old = {{{0}}, 'c'};
  OK(treering_commit(store, TREERING_PATH(tree), NULL, &options, sizeof options, NULL, (treering_commit_result *)&old,
                     sizeof old.manifest, NULL, &err));
  CHECK(strcmp(old.manifest.text, first.manifest.text) == 0 && old.canary == 'c');
}

static void looks(void) {
  treering_image *image = NULL;
  treering_bytes *json = NULL;
  size_t len = 0, n = 0;
  FAILS(TREERING_NOT_FOUND, treering_image_open(store, "app:v1", "linux/s390x", &image, &err));
  OK(treering_image_open(store, "app:v1", "linux/arm64", &image, &err));
  CHECK(strcmp(treering_image_platform(image), "linux/arm64") == 0);
  const uint8_t *document = treering_image_manifest(image, &len);
  CHECK(memmem(document, len, "org.example.key", 15) != NULL);
  document = treering_image_config(image, &len);
  CHECK(memmem(document, len, "\"A=1\"", 5) != NULL);
  CHECK(treering_image_size(image) > len);
  treering_layer layers[4];
  CHECK(treering_image_layer_count(image) == 1);
  OK(treering_image_layers(image, 0, layers, sizeof layers[0], 4, &n, &err));
  CHECK(n == 1 && strcmp(layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+zstd") == 0);
  CHECK(layers[0].size > 0 && strlen(layers[0].digest.text) == 71 && strlen(layers[0].diff_id.text) == 71);
  OK(treering_image_layers(image, 1, layers, sizeof layers[0], 4, &n, &err));
  CHECK(n == 0);
  OK(treering_image_history(image, &json, &err));
  contains(json, "\"First\"");
  OK(treering_image_inspect(image, &json, &err));
  contains(json, "\"RepoTags\":[\"app:v1\"]");
  OK(treering_image_report(image, false, NULL, &json, &err));
  contains(json, "\"wasted\":0");
  OK(treering_image_report(image, true, NULL, &json, &err));
  contains(json, "<!doctype html>");
  char id[80];
  strcpy(id, treering_image_id(image).text);
  treering_image_free(image);
  OK(treering_image_open(store, id, NULL, &image, &err));
  CHECK(strcmp(treering_image_id(image).text, id) == 0 && strlen(treering_image_digest(image).text) == 71);
  treering_image_free(image);
}

static void names(void) {
  treering_refs *refs = NULL;
  treering_ref ref[8];
  treering_resolved resolved;
  size_t n = 0;
  OK(treering_refs_tag(store, "app:v1", "other", &err));
  OK(treering_refs_list(store, &refs, &err));
  CHECK(treering_refs_len(refs) == 2);
  OK(treering_refs_get(refs, 0, ref, sizeof ref[0], 8, &n, &err));
  CHECK(n == 2 && strcmp(ref[0].name, "app:v1") == 0 && strcmp(ref[1].name, "other:latest") == 0);
  CHECK(strcmp(ref[0].digest.text, ref[1].digest.text) == 0 && ref[0].size > 0);
  CHECK(strcmp(ref[0].media_type, "application/vnd.oci.image.manifest.v1+json") == 0);
  OK(treering_refs_resolve(store, "other", &resolved, sizeof resolved, &err));
  CHECK(strcmp(resolved.digest.text, ref[0].digest.text) == 0);
  treering_refs_free(refs);
  FAILS(TREERING_INVALID_ARGUMENT, treering_refs_tag(store, "app:v1", "UPPER", &err));
  FAILS(TREERING_NOT_FOUND, treering_refs_tag(store, "absent", "name", &err));
  OK(treering_refs_untag(store, "other:latest", &err));
  FAILS(TREERING_NOT_FOUND, treering_refs_untag(store, "other:latest", &err));
  FAILS(TREERING_NOT_FOUND, treering_refs_remove(store, "other:latest", &err));
}

static void goes_and_comes_back(void) {
  treering_unpack_result unpacked;
  treering_apply_options options = {0};
  treering_report *report = NULL;
  options.threads = 2;
  options.sync = true;
  options.platform = "linux/arm64";
  const char *copy = in_scratch("copy");
  OK(treering_unpack(store, "app:v1", TREERING_PATH(copy), &options, sizeof options, NULL, &unpacked, sizeof unpacked,
                     &report, &err));
  CHECK(unpacked.entries == 3 && unpacked.losses == 0 && treering_report_len(report) == 0);
  treering_report_free(report);
  sh("test \"$(cat '%s/link')\" = world", copy);
  FAILS(TREERING_ALREADY_EXISTS, treering_unpack(store, "app:v1", TREERING_PATH(copy), &options, sizeof options, NULL,
                                                 &unpacked, sizeof unpacked, NULL, &err));
  options.max_entries = 1;
  FAILS(TREERING_LIMIT, treering_unpack(store, "app:v1", TREERING_PATH(in_scratch("no")), &options, sizeof options,
                                        NULL, &unpacked, sizeof unpacked, NULL, &err));
  options.max_entries = 100;
  options.max_bytes = 1;
  FAILS(TREERING_LIMIT, treering_unpack(store, "app:v1", TREERING_PATH(in_scratch("no")), &options, sizeof options,
                                        NULL, &unpacked, sizeof unpacked, NULL, &err));
  options.max_ratio = 100;
  CHECK(access(in_scratch("no"), F_OK) != 0);

  /* The copy is bound to its image: only what changed goes into the next layer. */
  sh("echo 2 >'%s/two' && rm '%s/link' && mkfifo '%s/pipe'", copy, copy, copy);
  treering_commit_result second = commit(copy, "app:v2", NULL);
  CHECK(second.added == 2 && second.deleted == 1);
  treering_image *image = NULL;
  OK(treering_image_open(store, "app:v2", NULL, &image, &err));
  CHECK(treering_image_layer_count(image) == 2);
  treering_image_free(image);
  treering_commit_result third = commit(copy, "app:v3", NULL);
  CHECK(!third.has_layer && third.layer_digest.text[0] == 0);
}

static void leaves_out_sockets(void) {
  treering_commit_result made;
  treering_report *report = NULL;
  treering_note note;
  size_t n = 0;
  const char *tree = in_scratch("sockets");
  sh("mkdir '%s' && cd '%s' && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'", tree, tree);
  OK(treering_commit(store, TREERING_PATH(tree), NULL, NULL, 0, NULL, &made, sizeof made, &report, &err));
  CHECK(made.skipped == 1 && treering_report_len(report) == 1);
  OK(treering_report_get(report, 0, &note, sizeof note, 1, &n, &err));
  CHECK(n == 1 && note.kind == TREERING_NOTE_SKIPPED && note.path_len == 1 && note.path[0] == 's');
  CHECK(note.attribute == NULL && strlen(note.reason) > 0);
  treering_report_free(report);
}

static void keeps(void) {
  treering_fsck_result fsck;
  treering_prune_options options = {0};
  treering_prune_result pruned;
  treering_bytes *json = NULL;
  OK(treering_store_fsck(store, NULL, NULL, &fsck, sizeof fsck, &json, &err));
  CHECK(fsck.problems == 0 && fsck.blobs > 4 && fsck.bytes > 0);
  contains(json, "\"problems\":[]");
  OK(treering_store_fsck(store, "structure", NULL, &fsck, sizeof fsck, NULL, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_store_fsck(store, "deep", NULL, &fsck, sizeof fsck, NULL, &err));
  OK(treering_store_usage(store, NULL, &json, &err));
  contains(json, "\"app:v1\"");
  OK(treering_info(store, &json, &err));
  contains(json, "\"openat2\"");
  OK(treering_info(NULL, &json, &err));
  contains(json, "\"abilities\"");

  OK(treering_refs_remove(store, "app:v1", &err));
  options.dry_run = true;
  options.wait = &(const uint64_t){100};
  options.keep = (const char *const[]){"sha256:12"}, options.keep_len = 1;
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_store_prune(store, &options, sizeof options, NULL, &pruned, sizeof pruned, NULL, &err));
  options.keep = (const char *const[]){"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"};
  OK(treering_store_prune(store, &options, sizeof options, NULL, &pruned, sizeof pruned, NULL, &err));
  uint64_t would = pruned.blobs;
  options.unused_names = true;
  options.lost_trees = true;
  OK(treering_store_prune(store, &options, sizeof options, NULL, &pruned, sizeof pruned, &json, &err));
  contains(json, "\"forgotten\":");
  OK(treering_store_prune(store, NULL, 0, NULL, &pruned, sizeof pruned, &json, &err));
  CHECK(pruned.blobs == would && pruned.untagged == 0 && pruned.forgotten == 0);
  contains(json, "\"blobs\":");
  OK(treering_store_fsck(store, "bytes", NULL, &fsck, sizeof fsck, NULL, &err));
  CHECK(fsck.problems == 0);
}

/* A store that is kept without indexes of layers, and one with them. */
static void indexes(void) {
  const char *path = in_scratch("unindexed"), *tree = in_scratch("tree");
  treering_store *opened = NULL;
  treering_store_options options = {0};
  treering_commit_result made;
  size_t len = 0;
  options.no_layer_index = true;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  const char *layout = (const char *)treering_store_layout(opened, &len);
  CHECK(len == strlen(path) + strlen("/oci"));
  CHECK(memcmp(layout, path, strlen(path)) == 0 && memcmp(layout + strlen(path), "/oci", 4) == 0);
  OK(treering_commit(opened, TREERING_PATH(tree), "app:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  sh("! ls '%s/layers' | grep -q ^index-", path);
  treering_store_free(opened);
  OK(treering_store_open(TREERING_PATH(path), NULL, 0, &opened, &err));
  OK(treering_commit(opened, TREERING_PATH(tree), "app:2", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_store_free(opened);
}

/* Each cap of a store: what is there asks for more, and is refused where it is looked at. */
static void caps(void) {
  const char *path = in_scratch("capped"), *tree = in_scratch("tree");
  treering_store *opened = NULL;
  treering_store_options options = {0};
  treering_image *image = NULL;
  treering_commit_result made;
  OK(treering_store_open(TREERING_PATH(path), NULL, 0, &opened, &err));
  OK(treering_commit(opened, TREERING_PATH(tree), "capped", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  sh("echo more >'%s/more'", tree);
  treering_store_free(opened);
  options.max_document_bytes = 100;
  options.max_index_depth = 1;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  FAILS(TREERING_LIMIT, treering_image_open(opened, "capped", NULL, &image, &err));
  treering_store_free(opened);
  options.max_document_bytes = 1 << 20;
  options.max_document_depth = 2;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  FAILS(TREERING_LIMIT, treering_image_open(opened, "capped", NULL, &image, &err));
  treering_store_free(opened);
  options.max_document_depth = 64;
  options.max_layers = 1;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  FAILS(TREERING_LIMIT,
        treering_commit(opened, TREERING_PATH(tree), "capped", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_store_free(opened);
  options.max_layers = 2;
  options.max_blob_bytes = 50;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  FAILS(TREERING_LIMIT,
        treering_commit(opened, TREERING_PATH(tree), "capped", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_store_free(opened);
  options.max_blob_bytes = 1 << 20;
  OK(treering_store_open(TREERING_PATH(path), &options, sizeof options, &opened, &err));
  OK(treering_commit(opened, TREERING_PATH(tree), "capped", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  treering_store_free(opened);
}

int main(void) {
  scratch();
  size_t len = 0;
  const char *path = in_scratch("store");
  setenv("TREERING_ROOT", path, 1);
  OK(treering_store_open_default(&store, &err));
  CHECK(memcmp(treering_store_path(store, &len), path, len) == 0 && len == strlen(path));
  commits();
  looks();
  names();
  goes_and_comes_back();
  leaves_out_sockets();
  keeps();
  caps();
  indexes();
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
