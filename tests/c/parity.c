/* The steps of tests/data/parity.json, run from C. tests/data/README.md says what they mean. TREERING_PARITY is the table. */
#include "json.h"

static treering_error *err;
static treering_control *control;
static const struct json *step;

/* A result: one `NAME=VALUE` per line; lists have their elements one after the other, under `NAME[]`. */
static char result[16384];

static void say(const char *name, const char *format, ...) {
  size_t at = strlen(result);
  va_list list;
  at += (size_t)snprintf(result + at, sizeof result - at, "%s=", name);
  va_start(list, format);
  at += (size_t)vsnprintf(result + at, sizeof result - at, format, list);
  va_end(list);
  CHECK(at + 2 < sizeof result);
  strcpy(result + at, "\n");
}

static void say_number(const char *name, uint64_t number) { say(name, "%llu", (unsigned long long)number); }

/* A path as the table writes it. */
static const char *escaped(const uint8_t *bytes, size_t len) {
  static char texts[2][1024];
  static int which;
  char *text = texts[which++ % 2];
  text[0] = 0;
  for (size_t i = 0; i < len; i++) {
    snprintf(text + strlen(text), 5, bytes[i] > 0x20 && bytes[i] < 0x7f ? "%c" : "\\x%02x", bytes[i]);
  }
  return text;
}

static void unescape(char *text) {
  char *to = text;
  for (; *text; text++) {
    unsigned byte;
    if (text[0] == '\\' && text[1] == 'x' && sscanf(text + 2, "%2x", &byte) == 1) {
      *to++ = (char)byte;
      text += 3;
    } else {
      *to++ = *text;
    }
  }
  *to = 0;
}

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
  return treering_store_open(TREERING_PATH(name), out, &err);
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
    if (strcmp(type, "directory") != 0) unlink(to);
    if (strcmp(type, "directory") == 0) {
      CHECK(mkdir(to, 0755) == 0);
    } else if (strcmp(type, "file") == 0) {
      FILE *file = fopen(to, "w");
      CHECK(file != NULL && fputs(json_text(entry, "content"), file) >= 0 && fclose(file) == 0);
    } else if (strcmp(type, "symlink") == 0) {
      CHECK(symlink(json_text(entry, "target"), to) == 0);
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

#define SET(call)                        \
  do {                                   \
    status = (call);                     \
    if (status != TREERING_OK) return status; \
  } while (0)

static treering_status commit_options(treering_commit_options *o) {
  treering_status status;
  const struct json *all = json_get(step, "options");
  if (option("base")) SET(treering_commit_options_set_base(o, option("base"), &err));
  if (option("compare")) SET(treering_commit_options_set_compare(o, option("compare"), &err));
  if (option("owner")) SET(treering_commit_options_set_owner(o, option("owner"), &err));
  if (option("compression")) SET(treering_commit_options_set_compression(o, option("compression"), level(), &err));
  if (option("nanoseconds")) SET(treering_commit_options_set_nanoseconds(o, flag("nanoseconds"), &err));
  if (option("clamp_mtime")) SET(treering_commit_options_set_clamp_mtime(o, atoll(option("clamp_mtime")), &err));
  if (option("author")) SET(treering_commit_options_set_author(o, option("author"), &err));
  if (option("message")) SET(treering_commit_options_set_message(o, option("message"), &err));
  if (option("created")) SET(treering_commit_options_set_created(o, atoll(option("created")), &err));
  if (option("squash")) SET(treering_commit_options_set_squash(o, flag("squash"), &err));
  if (option("platform")) SET(treering_commit_options_set_platform(o, option("platform"), &err));
  if (option("one_file_system")) SET(treering_commit_options_set_one_file_system(o, flag("one_file_system"), &err));
  if (option("threads")) SET(treering_commit_options_set_threads(o, (size_t)atoi(option("threads")), &err));
  struct json *list = json_get(all, "changes");
  for (struct json *one = list ? list->first : NULL; one; one = one->next)
    SET(treering_commit_options_add_change(o, one->text, &err));
  list = json_get(all, "annotations");
  for (struct json *one = list ? list->first : NULL; one; one = one->next)
    SET(treering_commit_options_add_annotation(o, one->name, one->text, &err));
  return TREERING_OK;
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
  treering_commit_options *options = NULL;
  treering_commit_result made;
  OK(treering_commit_options_new(&options, &err));
  treering_status status = commit_options(options);
  if (status == TREERING_OK) {
    status = treering_commit(store, TREERING_PATH(path("dir")), text("reference"), options, control, &made,
                             sizeof made, NULL, &err);
  }
  if (status == TREERING_OK) say_committed(&made, true);
  treering_commit_options_free(options);
  return status;
}

static treering_status import(treering_store *store, int fd) {
  treering_import_options *o = NULL;
  treering_commit_result made;
  OK(treering_import_options_new(&o, &err));
  struct json *list = json_get(json_get(step, "options"), "changes");
  for (struct json *one = list ? list->first : NULL; one; one = one->next)
    OK(treering_import_options_add_change(o, one->text, &err));
  if (option("message")) OK(treering_import_options_set_message(o, option("message"), &err));
  if (option("author")) OK(treering_import_options_set_author(o, option("author"), &err));
  if (option("platform")) OK(treering_import_options_set_platform(o, option("platform"), &err));
  if (option("created")) OK(treering_import_options_set_created(o, atoll(option("created")), &err));
  if (option("compression")) OK(treering_import_options_set_compression(o, option("compression"), level(), &err));
  treering_status status =
      treering_archive_import_fd(store, fd, text("reference"), o, control, &made, sizeof made, &err);
  if (status == TREERING_OK) say_committed(&made, false);
  treering_import_options_free(o);
  return status;
}

static treering_status unpack(treering_store *store) {
  treering_apply_options *options = NULL;
  treering_unpack_result made;
  treering_status status;
  OK(treering_apply_options_new(&options, &err));
  OK(treering_apply_options_set_platform(options, text("platform"), &err));
  status = treering_unpack(store, text("reference"), TREERING_PATH(path("dir")), options, control, &made, sizeof made,
                           NULL, &err);
  treering_apply_options_free(options);
  if (status != TREERING_OK) return status;
  say("manifest", "%s", made.manifest.text);
  say_number("entries", made.entries);
  say_number("losses", made.losses);
  return status;
}

static treering_status scan(void) {
  treering_snapshot *snapshot = NULL;
  treering_walk *walk = NULL;
  treering_entry entries[3];
  size_t n = 0;
  treering_status status;
  const char *kinds[] = {"", "file", "directory", "symlink"};
  SET(treering_snapshot_scan(TREERING_PATH(path("dir")), NULL, control, &snapshot, NULL, &err));
  OK(treering_snapshot_walk(snapshot, &walk, &err));
  do {
    OK(treering_walk_next(walk, entries, sizeof entries[0], 3, &n, &err));
    for (size_t i = 0; i < n; i++) {
      treering_entry *e = &entries[i];
      say("entries[]", "%s %04o %llu %s%s%s", kinds[e->kind], (unsigned)e->mode, (unsigned long long)e->size,
          e->index ? escaped(e->path, e->path_len) : ".", e->target_len ? " -> " : "",
          escaped(e->target, e->target_len));
    }
  } while (n > 0);
  treering_walk_free(walk);
  treering_snapshot_free(snapshot);
  return TREERING_OK;
}

static treering_status diff(treering_store *store, const char *op) {
  treering_diff *diff = NULL;
  treering_diff_options *options = NULL;
  treering_change changes[5];
  treering_status status;
  size_t n = 0;
  if (strcmp(op, "diff_tree") == 0) {
    status = treering_diff_tree(store, TREERING_PATH(path("dir")), text("base"), NULL, control, &diff, NULL, &err);
  } else if (strcmp(op, "diff_images") == 0) {
    status = treering_diff_images(store, text("before"), text("after"), NULL, control, &diff, &err);
  } else {
    OK(treering_diff_options_new(&options, &err));
    OK(treering_diff_options_set_compare(options, "content", &err));
    OK(treering_diff_options_set_owner(options, "root", &err));
    status = treering_diff_trees(NULL, TREERING_PATH(path("before")), TREERING_PATH(path("after")), options, control,
                                 &diff, NULL, &err);
    treering_diff_options_free(options);
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
  treering_layer_options *o = NULL;
  treering_layer_result made;
  treering_status status;
  SET(treering_diff_tree(NULL, TREERING_PATH(path("dir")), "scratch", NULL, control, &diff, NULL, &err));
  OK(treering_layer_options_new(&o, &err));
  if (option("compression")) OK(treering_layer_options_set_compression(o, option("compression"), level(), &err));
  if (option("nanoseconds")) OK(treering_layer_options_set_nanoseconds(o, flag("nanoseconds"), &err));
  if (option("clamp_mtime")) OK(treering_layer_options_set_clamp_mtime(o, atoll(option("clamp_mtime")), &err));
  int fd = open("/dev/null", O_WRONLY);
  status = treering_layer_write_fd(diff, o, fd, control, &made, sizeof made, &err);
  close(fd);
  treering_layer_options_free(o);
  treering_diff_free(diff);
  if (status != TREERING_OK) return status;
  say("diff_id", "%s", made.diff_id.text);
  say("digest", "%s", made.digest.text);
  say_number("diff_size", made.diff_size);
  say_number("size", made.size);
  say_number("entries", made.entries);
  return status;
}

static void say_sha256(void) {
  char command[700], sum[65] = "";
  snprintf(command, sizeof command, "sha256sum <'%s'", path("file"));
  FILE *pipe = popen(command, "r");
  CHECK(pipe != NULL && fscanf(pipe, "%64s", sum) == 1);
  pclose(pipe);
  say("sha256", "%s", sum);
}

static treering_status archive(treering_store *store, const char *op) {
  treering_status status;
  int fd = open(path("file"), O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0);
  if (strcmp(op, "save") == 0) {
    const char *references[8];
    size_t n = 0;
    for (struct json *one = json_get(step, "references")->first; one; one = one->next) references[n++] = one->text;
    status = treering_archive_save_fd(store, references, n, text("format"), fd, control, &err);
    if (status == TREERING_OK) say_sha256();
  } else if (strcmp(op, "export") == 0) {
    const char *dir = text("dir") ? path("dir") : "";
    status = treering_archive_export_fd(store, text("reference"), TREERING_PATH(dir), NULL, fd, control, &err);
    if (status == TREERING_OK) say_sha256();
  } else if (strcmp(op, "import") == 0) {
    status = import(store, fd);
  } else {
    treering_loaded *loaded = NULL;
    treering_loaded_image images[8];
    size_t n = 0;
    treering_load_options *options = NULL;
    OK(treering_load_options_new(&options, &err));
    status = treering_load_options_set_names(options, text("names"), &err);
    if (status == TREERING_OK) status = treering_archive_load_fd(store, fd, options, control, &loaded, &err);
    treering_load_options_free(options);
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
  if (strcmp(op, "delete") == 0) return delete (), status;
  if (strcmp(op, "scan") == 0) return scan();
  if (strcmp(op, "write_layer") == 0) return write_layer();
  SET(open_store(&store));
  if (strcmp(op, "cancelled_commit") == 0) OK(treering_control_cancel(control, &err));
  if (strcmp(op, "commit") == 0 || strcmp(op, "cancelled_commit") == 0) status = commit(store);
  else if (strcmp(op, "unpack") == 0) status = unpack(store);
  else if (strncmp(op, "diff_", 5) == 0) status = diff(store, op);
  else if (strcmp(op, "save") == 0 || strcmp(op, "load") == 0 || strcmp(op, "export") == 0 || strcmp(op, "import") == 0)
    status = archive(store, op);
  else if (strcmp(op, "layers") == 0 || strcmp(op, "inspect") == 0) status = look(store, op);
  else status = names(store, op);
  treering_store_free(store);
  return status;
}

/* Whether a line is in the result; from `*from` on for lists, whose order counts. */
static bool has(const char *name, const char *suffix, const char *value, size_t *from) {
  char line[2048], *found;
  size_t len = (size_t)snprintf(line, sizeof line, "%s%s=%s\n", name, suffix, value);
  for (found = result + *from; (found = strstr(found, line)) != NULL; found++) {
    if (found == result || found[-1] == '\n') {
      *from = (size_t)(found - result) + len;
      return true;
    }
  }
  return false;
}

static size_t count(const char *name) {
  size_t n = 0;
  for (char *at = result; (at = strstr(at, name)) != NULL; at++) n += at == result || at[-1] == '\n';
  return n;
}

/* Whether the result is what the table says; prints what is not. */
static bool compare(void) {
  bool same = true;
  for (struct json *member = json_get(step, "expect")->first; member != NULL; member = member->next) {
    size_t from = 0;
    bool good = true;
    if (member->type == 'l') {
      char name[64];
      size_t len = 0;
      for (struct json *one = member->first; one != NULL; one = one->next, len++)
        good = good && has(member->name, "[]", one->text, &from);
      snprintf(name, sizeof name, "%s[]=", member->name);
      good = good && count(name) == len;
    } else {
      good = has(member->name, "", member->text, &from);
    }
    if (!good) fprintf(stderr, "%s of %s is not as expected; got:\n%s", member->name, text("op"), result);
    same = same && good;
  }
  return same;
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
