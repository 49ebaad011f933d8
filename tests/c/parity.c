/* The steps of tests/data/parity.json, run from C. tests/data/README.md says what they mean. TREERING_PARITY is the
 * table. */
#include <sys/xattr.h>

#include "parity.h"

/* A path in the scratch directory that a member of the step names. */
static const char *path(const char *name) {
  static char paths[4][512];
  static int which;
  char *out = paths[which++ % 4];
  const char *text = json_text(step, name);
  CHECK(text != NULL);
  snprintf(out, sizeof paths[0], "%s/%s", scratch_dir, text);
  return out;
}

static const char *text(const char *name) { return json_text(step, name); }

static treering_status open_store(treering_store **out) {
  char name[300];
  snprintf(name, sizeof name, "%s/%s", scratch_dir, text("store") ? text("store") : "store");
  return treering_store_open(TREERING_PATH(name), NULL, 0, out, &err);
}

/* Makes files and directories. */
static void make(void) {
  char to[700];
  const char *dir = path("dir");
  if (access(dir, F_OK) != 0) CHECK(mkdir(dir, 0755) == 0 && chmod(dir, 0755) == 0);
  for (struct json *entry = json_get(step, "entries")->first; entry != NULL; entry = entry->next) {
    const char *type = json_text(entry, "type"), *mode = json_text(entry, "mode");
    unescape(json_get(entry, "path")->text);
    snprintf(to, sizeof to, "%s/%s", dir, json_text(entry, "path"));
    if (strcmp(type, "directory") != 0 && strcmp(type, "xattr") != 0) unlink(to);
    if (strcmp(type, "directory") == 0) {
      CHECK(mkdir(to, 0755) == 0);
    } else if (strcmp(type, "file") == 0) {
      FILE *file = fopen(to, "w");
      CHECK(file != NULL && fputs(json_text(entry, "content"), file) >= 0 && fclose(file) == 0);
    } else if (strcmp(type, "symlink") == 0) {
      CHECK(symlink(json_text(entry, "target"), to) == 0);
    } else if (strcmp(type, "xattr") == 0) {
      const char *value = json_text(entry, "content");
      CHECK(setxattr(to, json_text(entry, "name"), value, strlen(value), 0) == 0);
    } else {
      char from[700];
      snprintf(from, sizeof from, "%s/%s", dir, json_text(entry, "target"));
      CHECK(strcmp(type, "hardlink") == 0 && link(from, to) == 0);
    }
    if (mode != NULL) CHECK(chmod(to, (mode_t)strtol(mode, NULL, 8)) == 0);
  }
  if (strcmp(text("dir"), ".") != 0) sh("find '%s' -exec touch -h -d @1700000000 {} +", dir);
}

static void delete(void) {
  unescape(json_get(step, "path")->text);
  sh("rm -r '%s/%s' && find '%s' -exec touch -h -d @1700000000 {} +", path("dir"), text("path"), path("dir"));
}

static const char *option(const char *name) { return json_text(json_get(step, "options"), name); }
static bool flag(const char *name) { return strcmp(option(name), "true") == 0; }
static int level(void) { return option("level") ? atoi(option("level")) : 0; }

#define SET(call)                                                                                                      \
  do {                                                                                                                 \
    status = (call);                                                                                                   \
    if (status != TREERING_OK) return status;                                                                          \
  } while (0)

/* The lower directories of an overlay. */
static size_t lower_paths(treering_slice *out) {
  static char paths[4][512];
  struct json *list = json_get(step, "lowers");
  size_t n = 0;
  for (struct json *one = list ? list->first : NULL; one; one = one->next, n++) {
    CHECK(n < 4);
    snprintf(paths[n], sizeof paths[n], "%s/%s", scratch_dir, one->text);
    out[n].data = (const uint8_t *)paths[n];
    out[n].len = strlen(paths[n]);
  }
  return n;
}

/* A number of the options; NULL when it is not among them. */
static const int64_t *number(const char *name) {
  static int64_t numbers[4];
  static int which;
  if (option(name) == NULL) return NULL;
  numbers[which % 4] = atoll(option(name));
  return &numbers[which++ % 4];
}

/* A list of texts of the options. */
static size_t texts(const char *name, const char **out) {
  struct json *list = json_get(json_get(step, "options"), name);
  size_t n = 0;
  for (struct json *one = list ? list->first : NULL; one; one = one->next) {
    CHECK(n < 8);
    out[n++] = one->text;
  }
  return n;
}

static treering_slice slice(const char *text) {
  return (treering_slice){(const uint8_t *)text, text ? strlen(text) : 0};
}

static void say_committed(const treering_commit_result *made, bool numbers) {
  say("manifest", "%s", made->manifest.text);
  say("image_id", "%s", made->image_id.text);
  say("layer_diff_id", "%s", made->layer_diff_id.text);
  say("layer_digest", "%s", made->layer_digest.text);
  if (!numbers) return;
  say_number("added", made->added);
  say_number("changed", made->changed);
  say_number("deleted", made->deleted);
}

static treering_status commit(treering_store *store) {
  const char *changes[8];
  treering_slice lowers[4];
  treering_pair annotations[4];
  treering_commit_result made;
  treering_commit_options options = {
      .base = option("base"),
      .compare = option("compare"),
      .owner = option("owner"),
      .owner_from = slice(option("owner_from")),
      .compression = option("compression"),
      .level = level(),
      .nanoseconds = option("nanoseconds") && flag("nanoseconds"),
      .squash = option("squash") && flag("squash"),
      .one_file_system = option("one_file_system") && flag("one_file_system"),
      .clamp_mtime = number("clamp_mtime"),
      .created = number("created"),
      .author = option("author"),
      .message = option("message"),
      .changes = changes,
      .changes_len = texts("changes", changes),
      .annotations = annotations,
      .lowers = lowers,
      .lowers_len = lower_paths(lowers),
      .platform = option("platform"),
      .threads = option("threads") ? (size_t)atoi(option("threads")) : 0,
      .only_if_changed = option("only_if_changed") && flag("only_if_changed"),
  };
  struct json *list = json_get(json_get(step, "options"), "annotations");
  for (struct json *one = list ? list->first : NULL; one; one = one->next) {
    CHECK(options.annotations_len < 4);
    annotations[options.annotations_len++] = (treering_pair){one->name, one->text};
  }
  treering_status status = treering_commit(store, TREERING_PATH(path("dir")), text("reference"), &options,
                                           sizeof options, control, &made, sizeof made, NULL, &err);
  if (status == TREERING_OK) say_committed(&made, true);
  return status;
}

static treering_status import(treering_store *store, int fd) {
  const char *changes[8];
  treering_commit_result made;
  const treering_import_options options = {
      .changes = changes,
      .changes_len = texts("changes", changes),
      .message = option("message"),
      .author = option("author"),
      .platform = option("platform"),
      .created = number("created"),
      .compression = option("compression"),
      .level = level(),
  };
  treering_status status = treering_archive_import_fd(store, fd, text("reference"), &options, sizeof options, control,
                                                      &made, sizeof made, &err);
  if (status == TREERING_OK) say_committed(&made, false);
  return status;
}

static treering_status unpack(treering_store *store) {
  treering_apply_options options = {0};
  treering_unpack_result made;
  treering_status status;
  options.platform = text("platform");
  status = treering_unpack(store, text("reference"), TREERING_PATH(path("dir")), &options, sizeof options, control,
                           &made, sizeof made, NULL, &err);
  if (status != TREERING_OK) return status;
  say("manifest", "%s", made.manifest.text);
  say_number("entries", made.entries);
  say_number("losses", made.losses);
  return status;
}

/* One entry as the table has it. */
static void say_entry(const char *name, const treering_entry *e) {
  const char *kinds[] = {"", "file", "directory", "symlink"};
  say(name, "%s %04o %llu %s%s%s", kinds[e->kind], (unsigned)e->mode, (unsigned long long)e->size,
      e->index ? escaped(e->path, e->path_len) : ".", e->target_len ? " -> " : "", escaped(e->target, e->target_len));
}

/* Trees that become others. */
static treering_status in_place(treering_store *store, const char *op) {
  treering_status status;
  if (strcmp(op, "clone") == 0) {
    treering_clone_result made;
    SET(treering_clone(store, TREERING_PATH(path("dir")), TREERING_PATH(path("to")), NULL, 0, control, &made,
                       sizeof made, NULL, &err));
    say("manifest", "%s", made.manifest.text);
    say_number("entries", made.entries);
    return status;
  }
  treering_checkout_options options = {0};
  treering_checkout_result made;
  treering_changes *changes = NULL;
  treering_change list[3];
  size_t n = 0, first = 0;
  options.discard = option("discard") && flag("discard");
  options.dry_run = option("dry_run") && flag("dry_run");
  SET(treering_checkout(store, text("reference"), TREERING_PATH(path("dir")), &options, sizeof options, control, &made,
                        sizeof made, &changes, NULL, &err));
  say("manifest", "%s", made.manifest.text);
  say_number("removed", made.removed);
  do {
    OK(treering_changes_get(changes, first, list, sizeof list[0], 3, &n, &err));
    for (size_t i = 0; i < n; i++)
      say("changes[]", "%c %s", " ACD"[list[i].kind], list[i].path_len ? escaped(list[i].path, list[i].path_len) : ".");
    first += n;
  } while (n > 0);
  treering_changes_free(changes);
  return status;
}

static treering_status scan(const char *op) {
  treering_snapshot *snapshot = NULL;
  treering_walk *walk = NULL;
  treering_entry entries[3];
  size_t n = 0;
  treering_status status;
  if (strcmp(op, "load_snapshot") == 0) SET(treering_snapshot_load(TREERING_PATH(path("file")), &snapshot, &err));
  else SET(treering_snapshot_scan(TREERING_PATH(path("dir")), NULL, 0, control, &snapshot, NULL, &err));
  if (strcmp(op, "save_snapshot") == 0) {
    status = treering_snapshot_save(snapshot, TREERING_PATH(path("file")), &err);
    treering_snapshot_free(snapshot);
    return status;
  }
  OK(treering_snapshot_walk(snapshot, &walk, &err));
  do {
    OK(treering_walk_next(walk, entries, sizeof entries[0], 3, &n, &err));
    for (size_t i = 0; i < n; i++) say_entry("entries[]", &entries[i]);
  } while (n > 0);
  treering_walk_free(walk);
  treering_snapshot_free(snapshot);
  return TREERING_OK;
}

static treering_status lookup(void) {
  treering_scan_options options = {0};
  treering_snapshot *snapshot = NULL;
  treering_entry entry;
  treering_xattr xattrs[4];
  size_t n = 0;
  options.owner_from = slice(option("owner_from"));
  treering_status status =
      treering_snapshot_scan(TREERING_PATH(path("dir")), &options, sizeof options, control, &snapshot, NULL, &err);
  if (status != TREERING_OK) return status;
  status = treering_snapshot_lookup(snapshot, TREERING_PATH(text("path")), &entry, sizeof entry, &err);
  if (status == TREERING_OK) {
    say_entry("entry", &entry);
    say("owner", "%u:%u", (unsigned)entry.uid, (unsigned)entry.gid);
    OK(treering_snapshot_xattrs(snapshot, entry.index, 0, xattrs, sizeof xattrs[0], 4, &n, &err));
    for (size_t i = 0; i < n; i++)
      say("xattrs[]", "%s %s", escaped(xattrs[i].name, xattrs[i].name_len),
          escaped(xattrs[i].value, xattrs[i].value_len));
  }
  treering_snapshot_free(snapshot);
  return status;
}

/* Compares snapshots of two directories, or of one with nothing. */
static treering_status diff_snapshots(treering_diff **out) {
  treering_snapshot *before = NULL, *after = NULL;
  treering_status status;
  SET(treering_snapshot_scan(TREERING_PATH(path("after")), NULL, 0, control, &after, NULL, &err));
  if (text("before")) OK(treering_snapshot_scan(TREERING_PATH(path("before")), NULL, 0, control, &before, NULL, &err));
  status = treering_diff_snapshots(before, after, NULL, 0, NULL, 0, out, &err);
  treering_snapshot_free(before);
  treering_snapshot_free(after);
  return status;
}

static treering_status diff(treering_store *store, const char *op) {
  treering_diff *diff = NULL;
  treering_diff_options options = {0};
  treering_change changes[5];
  treering_status status;
  size_t n = 0;
  if (strcmp(op, "diff_tree") == 0) {
    status = treering_diff_tree(store, TREERING_PATH(path("dir")), text("base"), NULL, 0, control, &diff, NULL, &err);
  } else if (strcmp(op, "diff_images") == 0) {
    status = treering_diff_images(store, text("before"), text("after"), NULL, 0, control, &diff, &err);
  } else if (strcmp(op, "diff_snapshots") == 0) {
    status = diff_snapshots(&diff);
  } else if (strcmp(op, "diff_overlay") == 0) {
    treering_slice lowers[4];
    size_t count = lower_paths(lowers);
    status =
        treering_diff_overlay(NULL, TREERING_PATH(path("dir")), lowers, count, NULL, 0, control, &diff, NULL, &err);
  } else {
    options.compare = "content";
    options.owner = "root";
    status = treering_diff_trees(NULL, TREERING_PATH(path("before")), TREERING_PATH(path("after")), &options,
                                 sizeof options, control, &diff, NULL, &err);
  }
  if (status != TREERING_OK) return status;
  do {
    OK(treering_diff_next(diff, changes, sizeof changes[0], 5, &n, &err));
    for (size_t i = 0; i < n; i++)
      say("changes[]", "%c %s", " ACD"[changes[i].kind], escaped(changes[i].path, changes[i].path_len));
  } while (n > 0);
  treering_diff_free(diff);
  return status;
}

static treering_status write_layer(void) {
  treering_diff *diff = NULL;
  treering_layer_options o = {0};
  treering_layer_result made;
  treering_status status;
  SET(treering_diff_tree(NULL, TREERING_PATH(path("dir")), "scratch", NULL, 0, control, &diff, NULL, &err));
  o.compression = option("compression"), o.level = level();
  o.nanoseconds = option("nanoseconds") && flag("nanoseconds");
  o.clamp_mtime = number("clamp_mtime");
  int fd = open(text("file") ? path("file") : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  status = treering_layer_write_fd(diff, &o, sizeof o, fd, control, &made, sizeof made, &err);
  close(fd);
  treering_diff_free(diff);
  if (status != TREERING_OK) return status;
  say("diff_id", "%s", made.diff_id.text);
  say("digest", "%s", made.digest.text);
  say_number("diff_size", made.diff_size);
  say_number("size", made.size);
  say_number("entries", made.entries);
  return status;
}

static void say_sha256_of(const char *name, const char *file) {
  char command[700], sum[65] = "";
  snprintf(command, sizeof command, "sha256sum <'%s'", file);
  FILE *pipe = popen(command, "r");
  CHECK(pipe != NULL && fscanf(pipe, "%64s", sum) == 1);
  pclose(pipe);
  say(name, "%s", sum);
}

static void say_sha256(void) { say_sha256_of("sha256", path("file")); }

static treering_status layer(const char *op) {
  treering_status status;
  int fd = open(path("file"), O_RDONLY);
  CHECK(fd >= 0);
  if (strcmp(op, "apply_layer") == 0) {
    treering_apply_result made;
    CHECK(mkdir(path("dir"), 0755) == 0);
    status =
        treering_layer_apply_fd(NULL, fd, TREERING_PATH(path("dir")), NULL, 0, control, &made, sizeof made, NULL, &err);
    if (status == TREERING_OK) {
      say("diff_id", "%s", made.diff_id.text);
      say_number("losses", made.losses);
    }
  } else {
    treering_layer_list *list = NULL;
    treering_layer_entry entries[32];
    const char *kinds[] = {"", "file", "directory", "symlink", "", "", "", "", "hardlink"};
    size_t n = 0;
    status = treering_layer_list_fd(fd, NULL, 0, control, &list, &err);
    if (status == TREERING_OK) OK(treering_layer_list_get(list, 0, entries, sizeof entries[0], 32, &n, &err));
    for (size_t i = 0; i < n; i++) {
      treering_layer_entry *e = &entries[i];
      say("entries[]", "%s %04o %u:%u %llu %u %s%s%s", kinds[e->kind], (unsigned)e->mode, (unsigned)e->uid,
          (unsigned)e->gid, (unsigned long long)e->size, (unsigned)e->xattrs,
          e->path_len ? escaped(e->path, e->path_len) : ".", e->link_len ? " -> " : "", escaped(e->link, e->link_len));
    }
    treering_layer_list_free(list);
  }
  close(fd);
  return status;
}

static treering_status archive(treering_store *store, const char *op) {
  treering_status status;
  int fd = open(path("file"), O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0);
  if (strcmp(op, "save") == 0) {
    const char *references[8];
    size_t n = 0;
    for (struct json *one = json_get(step, "references")->first; one; one = one->next) references[n++] = one->text;
    treering_save_options saving = {.format = text("format")};
    status = treering_archive_save_fd(store, references, n, &saving, sizeof saving, fd, control, &err);
    if (status == TREERING_OK) say_sha256();
  } else if (strcmp(op, "export") == 0) {
    const char *dir = text("dir") ? path("dir") : "";
    status = treering_archive_export_fd(store, text("reference"), TREERING_PATH(dir), NULL, 0, fd, control, &err);
    if (status == TREERING_OK) say_sha256();
  } else if (strcmp(op, "import") == 0) {
    status = import(store, fd);
  } else {
    treering_loaded *loaded = NULL;
    treering_loaded_image images[8];
    size_t n = 0;
    treering_load_options options = {0};
    options.names = text("names");
    status = treering_archive_load_fd(store, fd, &options, sizeof options, control, &loaded, &err);
    if (status == TREERING_OK) OK(treering_loaded_get(loaded, 0, images, sizeof images[0], 8, &n, &err));
    for (size_t i = 0; i < n; i++)
      say("loaded[]", "%s %s", images[i].name ? images[i].name : "-", images[i].image_id.text);
    treering_loaded_free(loaded);
  }
  close(fd);
  return status;
}

/* The text of a member at the top of a document of our own. */
static void say_member(struct json *document, const char *name) { say(name, "%s", json_text(document, name)); }

static treering_status look(treering_store *store, const char *op) {
  treering_image *image = NULL;
  treering_layer layers[8];
  treering_bytes *json = NULL;
  treering_status status;
  size_t n = 0;
  bool inspects = strcmp(op, "inspect") == 0;
  SET(treering_image_open(store, text("reference"), inspects ? "linux/arm64" : NULL, &image, &err));
  if (inspects) {
    OK(treering_image_inspect(image, &json, &err));
    struct json *document = json_parse((const char *)treering_bytes_data(json));
    say_member(document, "Id");
    say_member(document, "Author");
    say_member(document, "Architecture");
    say_member(document, "Os");
    json_free(document);
    treering_bytes_free(json);
  } else {
    OK(treering_image_layers(image, 0, layers, sizeof layers[0], 8, &n, &err));
    for (size_t i = 0; i < n; i++)
      say("layers[]", "%s %s %llu", layers[i].diff_id.text, layers[i].digest.text, (unsigned long long)layers[i].size);
  }
  treering_image_free(image);
  return status;
}

/* The text of a member, or a dash where there is none. */
static const char *or_dash(struct json *object, const char *name) {
  const struct json *member = json_get(object, name);
  return member && member->type ? member->text : "-";
}

static void say_list(const char *name, struct json *list) {
  for (struct json *one = list->first; one; one = one->next) say(name, "%s", one->text);
}

static size_t json_len(const struct json *list) {
  size_t n = 0;
  for (struct json *one = list->first; one; one = one->next) n++;
  return n;
}

/* The sha256 of bytes, by way of a file, for there is no function for it in C. */
static void say_sha256_of_bytes(const char *name, const uint8_t *bytes, size_t len) {
  const char *place = in_scratch("bytes");
  FILE *file = fopen(place, "w");
  CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
  say_sha256_of(name, place);
  unlink(place);
}

static treering_status documents(treering_store *store, bool history) {
  treering_image *image = NULL;
  treering_status status;
  size_t len = 0;
  SET(treering_image_open(store, text("reference"), text("platform"), &image, &err));
  if (history) {
    treering_bytes *json = NULL;
    OK(treering_image_history(image, &json, &err));
    struct json *rows = json_parse((const char *)treering_bytes_data(json));
    for (struct json *row = rows->first; row; row = row->next)
      say("rows[]", "%s %s %s %s %s %s|%s", or_dash(row, "id"), or_dash(row, "created"), or_dash(row, "size"),
          or_dash(row, "diff_size"), or_dash(row, "diff_id"), json_text(row, "created_by"), json_text(row, "comment"));
    json_free(rows);
    treering_bytes_free(json);
  } else {
    treering_digest id = treering_image_id(image), digest = treering_image_digest(image);
    say("id", "%s", id.text);
    say("digest", "%s", digest.text);
    say("platform", "%s", treering_image_platform(image));
    say_number("size", treering_image_size(image));
    const uint8_t *bytes = treering_image_manifest(image, &len);
    say_sha256_of_bytes("manifest", bytes, len);
    bytes = treering_image_config(image, &len);
    say_sha256_of_bytes("config", bytes, len);
  }
  treering_image_free(image);
  return status;
}

static treering_status files(treering_store *store, bool list) {
  treering_image *image = NULL;
  treering_walk *walk = NULL;
  treering_reader *reader = NULL;
  treering_entry entry;
  treering_status status;
  size_t n = 0;
  unescape(json_get(step, "path")->text);
  SET(treering_image_open(store, text("reference"), NULL, &image, &err));
  if (list) {
    status = treering_image_list(image, TREERING_PATH(text("path")), control, &walk, &err);
    for (n = status == TREERING_OK; n > 0;) {
      OK(treering_walk_next(walk, &entry, sizeof entry, 1, &n, &err));
      if (n > 0) say_entry("entries[]", &entry);
    }
    treering_walk_free(walk);
  } else {
    status = treering_image_file(image, TREERING_PATH(text("path")), control, &reader, &err);
    if (status == TREERING_OK) {
      int fd = open(in_scratch("bytes"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      OK(treering_reader_copy_fd(reader, fd, control, NULL, &err));
      CHECK(close(fd) == 0);
      say_sha256_of("sha256", in_scratch("bytes"));
      treering_reader_free(reader);
    }
  }
  treering_image_free(image);
  return status;
}

static treering_status prune(treering_store *store) {
  treering_prune_options options = {0};
  treering_prune_result done;
  treering_bytes *json = NULL;
  if (option("dry_run")) options.dry_run = flag("dry_run");
  if (option("unused_names")) options.unused_names = flag("unused_names");
  if (option("lost_trees")) options.lost_trees = flag("lost_trees");
  treering_status status =
      treering_store_prune(store, &options, sizeof options, control, &done, sizeof done, &json, &err);
  if (status != TREERING_OK) return status;
  struct json *report = json_parse((const char *)treering_bytes_data(json));
  say_list("images[]", json_get(report, "images"));
  say_list("blobs[]", json_get(report, "blobs"));
  say_list("untagged[]", json_get(report, "untagged"));
  CHECK(done.blobs == json_len(json_get(report, "blobs")));
  say_number("layers", done.layers);
  say_number("forgotten", done.forgotten);
  json_free(report);
  treering_bytes_free(json);
  return status;
}

static treering_status usage(treering_store *store) {
  treering_bytes *json = NULL;
  treering_status status;
  SET(treering_store_usage(store, control, &json, &err));
  struct json *used = json_parse((const char *)treering_bytes_data(json));
  for (struct json *image = json_get(used, "images")->first; image; image = image->next) {
    char all[512] = "";
    for (struct json *one = json_get(image, "names")->first; one; one = one->next)
      snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", all[0] ? "," : "", one->text);
    say("images[]", "%s %s %s %s %s %s", all, json_text(image, "digest"), json_text(image, "size"),
        json_text(image, "shared"), json_text(image, "unique"), json_text(image, "layers"));
  }
  say_member(used, "blobs");
  say_member(used, "blob_bytes");
  say_member(used, "reclaimable");
  say_member(used, "trees");
  json_free(used);
  treering_bytes_free(json);
  return status;
}

static treering_status info(treering_store *store) {
  treering_bytes *json = NULL;
  treering_status status;
  SET(treering_info(store, &json, &err));
  struct json *machine = json_parse((const char *)treering_bytes_data(json));
  say_member(json_get(machine, "store"), "images");
  say_member(json_get(machine, "store"), "trees");
  json_free(machine);
  treering_bytes_free(json);
  return status;
}

/* A caller's stream that does not work. */
static int32_t fails_to_write(void *userdata, const uint8_t *data, size_t len) {
  return (void)userdata, (void)data, (void)len, 7;
}
static int32_t fails_to_read(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  return (void)userdata, (void)data, (void)capacity, (void)len, 7;
}

static treering_status failing(treering_store *store, const char *op) {
  treering_loaded *loaded = NULL;
  treering_status status;
  if (strcmp(op, "failing_load") == 0)
    status = treering_archive_load_callback(store, fails_to_read, NULL, NULL, NULL, 0, control, &loaded, &err);
  else
    status = treering_archive_export_callback(store, text("reference"), NULL, 0, NULL, 0, fails_to_write, NULL, NULL,
                                              control, &err);
  CHECK(treering_error_callback_code(err) == 7);
  return status;
}

static treering_status names(treering_store *store, const char *op) {
  if (strcmp(op, "tag") == 0) return treering_refs_tag(store, text("reference"), text("name"), &err);
  if (strcmp(op, "untag") == 0) return treering_refs_untag(store, text("name"), &err);
  if (strcmp(op, "remove") == 0) return treering_refs_remove(store, text("reference"), &err);
  treering_status status;
  if (strcmp(op, "resolve") == 0) {
    treering_resolved found;
    SET(treering_refs_resolve(store, text("reference"), &found, sizeof found, &err));
    say("digest", "%s", found.digest.text);
    return status;
  }
  if (strcmp(op, "fsck") == 0) {
    treering_fsck_result found;
    SET(treering_store_fsck(store, "bytes", control, &found, sizeof found, NULL, &err));
    say_number("problems", found.problems);
    return status;
  }
  treering_refs *refs = NULL;
  treering_ref list[8];
  size_t n = 0;
  CHECK(strcmp(op, "refs") == 0);
  SET(treering_refs_list(store, &refs, &err));
  OK(treering_refs_get(refs, 0, list, sizeof list[0], 8, &n, &err));
  for (size_t i = 0; i < n; i++) say("refs[]", "%s %s", list[i].name ? list[i].name : "-", list[i].digest.text);
  treering_refs_free(refs);
  return status;
}

static treering_status run(const char *op) {
  treering_store *store = NULL;
  treering_status status = TREERING_OK;
  if (strcmp(op, "make") == 0) return make(), status;
  if (strcmp(op, "delete") == 0) return delete(), status;
  if (strcmp(op, "scan") == 0 || strcmp(op, "save_snapshot") == 0 || strcmp(op, "load_snapshot") == 0) return scan(op);
  if (strcmp(op, "lookup") == 0) return lookup();
  if (strcmp(op, "apply_layer") == 0 || strcmp(op, "list_layer") == 0) return layer(op);
  if (strcmp(op, "write_layer") == 0) return write_layer();
  SET(open_store(&store));
  if (strcmp(op, "cancelled_commit") == 0) OK(treering_control_cancel(control, &err));
  if (strcmp(op, "commit") == 0 || strcmp(op, "cancelled_commit") == 0) status = commit(store);
  else if (strcmp(op, "unpack") == 0) status = unpack(store);
  else if (strcmp(op, "clone") == 0 || strcmp(op, "checkout") == 0) status = in_place(store, op);
  else if (strcmp(op, "list_files") == 0 || strcmp(op, "read_file") == 0) status = files(store, op[0] == 'l');
  else if (strncmp(op, "diff_", 5) == 0) status = diff(store, op);
  else if (strcmp(op, "save") == 0 || strcmp(op, "load") == 0 || strcmp(op, "export") == 0 || strcmp(op, "import") == 0)
    status = archive(store, op);
  else if (strcmp(op, "layers") == 0 || strcmp(op, "inspect") == 0) status = look(store, op);
  else if (strcmp(op, "documents") == 0 || strcmp(op, "history") == 0) status = documents(store, op[0] == 'h');
  else if (strcmp(op, "prune") == 0) status = prune(store);
  else if (strcmp(op, "usage") == 0) status = usage(store);
  else if (strcmp(op, "info") == 0) status = info(store);
  else if (strncmp(op, "failing_", 8) == 0) status = failing(store, op);
  else status = names(store, op);
  treering_store_free(store);
  return status;
}

int main(void) {
  const char *table = getenv("TREERING_PARITY");
  CHECK(table != NULL);
  FILE *file = fopen(table, "r");
  CHECK(file != NULL);
  char *bytes = calloc(1, 1 << 20);
  CHECK(bytes != NULL && fread(bytes, 1, (1 << 20) - 1, file) > 0);
  fclose(file);
  struct json *all = json_parse(bytes);
  free(bytes);
  CHECK(strcmp(json_text(all, "format"), "1") == 0);
  int steps = 0, wrong = 0;
  for (struct json *one = json_get(all, "cases")->first; one != NULL; one = one->next) {
    scratch();
    for (struct json *each = json_get(one, "steps")->first; each != NULL; each = each->next, steps++) {
      step = each;
      result[0] = 0;
      OK(treering_control_new(&control, &err));
      treering_status status = run(text("op"));
      if (status != TREERING_OK) {
        result[0] = 0;
        say("error", "%s", treering_error_kind(err));
        treering_error_free(err);
        err = NULL;
      }
      treering_control_free(control);
      bool failed = status != TREERING_OK && json_get(json_get(step, "expect"), "error") == NULL;
      if (failed) fprintf(stderr, "%s failed: %s", text("op"), result);
      if (!compare() || failed) {
        fprintf(stderr, "in case: %s\n", json_text(one, "name"));
        wrong++;
      }
    }
    scratch_remove();
  }
  json_free(all);
  CHECK(treering_test_live_handles() == 0);
  fprintf(stderr, "parity: %d steps, %d wrong\n", steps, wrong);
  return wrong > 0;
}
