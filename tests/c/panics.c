/* A defect anywhere in an operation, on whatever thread: a status and an error object, and nothing stays behind. Every
 * operation that takes a control is run again and again, and panics one look at the control later each time, until it
 * gets through. */
#include <dirent.h>

#include "common.h"

static treering_error *err;
static treering_store *store, *other;
static treering_control *control;
static int archive, plain, layer;

static int32_t drop(void *userdata, const uint8_t *data, size_t len) {
  (void)data;
  *(size_t *)userdata += len;
  return 0;
}

static int32_t from_file(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  ssize_t n = read(*(int *)userdata, data, capacity < 1 << 18 ? capacity : 1 << 18);
  *len = n < 0 ? 0 : (size_t)n;
  return n < 0;
}

static void finalizer(void *userdata) { CHECK(userdata != NULL); }

static const char *tree(void) { return in_scratch("tree"); }

static treering_status scan(void) {
  treering_scan_options options = {0};
  treering_snapshot *snapshot = NULL;
  options.threads = 4;
  treering_status status =
      treering_snapshot_scan(TREERING_PATH(tree()), &options, sizeof options, control, &snapshot, NULL, &err);
  CHECK((snapshot != NULL) == (status == TREERING_OK));
  treering_snapshot_free(snapshot);
  return status;
}

static treering_status commit(void) {
  treering_commit_options options = {0};
  treering_commit_result made;
  treering_report *report = NULL;
  options.base = "scratch";
  options.threads = 3;
  treering_status status = treering_commit(store, TREERING_PATH(tree()), "again:1", &options, sizeof options, control,
                                           &made, sizeof made, &report, &err);
  CHECK((report != NULL) == (status == TREERING_OK));
  treering_report_free(report);
  return status;
}

static treering_status diff(void) {
  treering_diff_options options = {0};
  treering_diff *made = NULL;
  options.compare = "content";
  options.threads = 3;
  treering_status status = treering_diff_trees(NULL, TREERING_PATH(tree()), TREERING_PATH(in_scratch("copy")), &options,
                                               sizeof options, control, &made, NULL, &err);
  CHECK((made != NULL) == (status == TREERING_OK));
  treering_diff_free(made);
  return status;
}

static treering_status layer_write(void) {
  treering_diff *made = NULL;
  treering_layer_options options = {0};
  treering_layer_result written;
  size_t taken = 0;
  OK(treering_diff_tree(NULL, TREERING_PATH(tree()), "scratch", NULL, 0, NULL, &made, NULL, &err));
  options.threads = 3;
  treering_status status = treering_layer_write_callback(made, &options, sizeof options, drop, &taken, finalizer,
                                                         control, &written, sizeof written, &err);
  treering_diff_free(made);
  return status;
}

static const treering_apply_options applying = {.threads = 3};

static treering_status layer_apply(void) {
  treering_apply_result applied;
  sh("rm -rf '%s'", in_scratch("applied"));
  treering_status status =
      treering_layer_apply_callback(NULL, from_file, &layer, finalizer, TREERING_PATH(in_scratch("applied")), &applying,
                                    sizeof applying, control, &applied, sizeof applied, NULL, &err);
  return status;
}

static treering_status layer_list(void) {
  treering_layer_list *list = NULL;
  treering_status status = treering_layer_list_callback(from_file, &layer, finalizer, NULL, 0, control, &list, &err);
  CHECK((list != NULL) == (status == TREERING_OK));
  treering_layer_list_free(list);
  return status;
}

static treering_status unpack(void) {
  treering_unpack_result unpacked;
  sh("rm -rf '%s'", in_scratch("unpacked"));
  treering_status status = treering_unpack(store, "app:v1", TREERING_PATH(in_scratch("unpacked")), &applying,
                                           sizeof applying, control, &unpacked, sizeof unpacked, NULL, &err);
  CHECK((access(in_scratch("unpacked"), F_OK) == 0) == (status == TREERING_OK));
  return status;
}

static treering_status load(void) {
  treering_loaded *loaded = NULL;
  treering_status status =
      treering_archive_load_callback(other, from_file, &archive, finalizer, NULL, 0, control, &loaded, &err);
  treering_loaded_free(loaded);
  return status;
}

static treering_status import(void) {
  treering_commit_result made;
  return treering_archive_import_fd(other, plain, NULL, NULL, 0, control, &made, sizeof made, &err);
}

static treering_status save(void) {
  const char *names[] = {"app:v1"};
  size_t taken = 0;
  return treering_archive_save_callback(store, names, 1, NULL, 0, drop, &taken, finalizer, control, &err);
}

static treering_status export(void) {
  size_t taken = 0;
  return treering_archive_export_callback(store, "app:v1", NULL, 0, NULL, 0, drop, &taken, finalizer, control, &err);
}

static treering_status fsck(void) {
  treering_fsck_result found;
  return treering_store_fsck(store, NULL, control, &found, sizeof found, NULL, &err);
}

static treering_status prune(void) {
  treering_prune_result found;
  return treering_store_prune(store, NULL, 0, control, &found, sizeof found, NULL, &err);
}

/* Counted before anything was started: the kernel shows a thread that was joined for a moment longer. */
static int threads;

static int entries_of(const char *path) {
  int n = 0;
  DIR *dir = opendir(path);
  CHECK(dir != NULL);
  while (readdir(dir) != NULL) n++;
  closedir(dir);
  return n;
}

/* Runs one until it gets through: gives whether a panic was on a thread of that name. */
static int sweep_once(const char *name, treering_status (*run)(void), const char *where) {
  int panics = 0, there = 0;
  /* Tools that make a program slow set the rounds of the soak: not every look then. */
  uint64_t leap = getenv("TREERING_SOAK_ROUNDS") ? 8 : UINT64_MAX;
  for (uint64_t look = 1;; look += 1 + look / leap) {
    int files = entries_of("/proc/self/fd");
    size_t handles = treering_test_live_handles();
    CHECK(look < 2000);
    lseek(archive, 0, SEEK_SET), lseek(plain, 0, SEEK_SET), lseek(layer, 0, SEEK_SET);
    OK(treering_control_new(&control, &err));
    OK(treering_test_panic_at(control, look, &err));
    treering_status status = run();
    CHECK(treering_control_free(control) == TREERING_OK);
    if (status != TREERING_OK) {
      if (status != TREERING_INTERNAL) fprintf(stderr, "%s, look %d: %s\n", name, (int)look, treering_error_text(err));
      CHECK(status == TREERING_INTERNAL && err != NULL && strlen(treering_error_operation(err)) > 0);
      there |= strstr(treering_error_message(err), where) != NULL;
      CHECK(treering_error_free(err) == TREERING_OK);
      err = NULL;
      panics++;
    }
    CHECK(entries_of("/proc/self/fd") == files && treering_test_live_handles() == handles);
    for (int i = 0; i < 2000 && entries_of("/proc/self/task") != threads; i++) usleep(1000);
    CHECK(entries_of("/proc/self/task") == threads);
    if (status == TREERING_OK) break;
  }
  CHECK(panics > 0);
  return there;
}

/* Not all panics may be on the caller's own thread, which also takes part. Which thread does what is chance. */
static void sweep(const char *name, treering_status (*run)(void), const char *where) {
  int tries = 1;
  while (!sweep_once(name, run, where)) {
    if (tries++ == 50) fprintf(stderr, "%s never panics on %s\n", name, where);
    CHECK(tries <= 50);
  }
}

int main(void) {
  const char *names[] = {"app:v1"};
  treering_commit_result made;
  treering_diff *whole = NULL;
  treering_layer_result written;
  treering_fsck_result found;
  threads = entries_of("/proc/self/task");
  scratch();
  sh("mkdir '%s' && cd '%s' && for d in a b c d e f; do mkdir -p $d/x && echo $d >$d/f && ln -s f $d/l; done && "
     "head -c 3000000 /dev/urandom >big && cp -r . '%s' && find '%s' . -exec touch -h -d @1700000000 {} +",
     tree(), tree(), in_scratch("copy"), in_scratch("copy"));
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_store_open(TREERING_PATH(in_scratch("other")), NULL, 0, &other, &err));
  OK(treering_commit(store, TREERING_PATH(tree()), names[0], NULL, 0, NULL, &made, sizeof made, NULL, &err));
  CHECK((archive = open(in_scratch("archive"), O_RDWR | O_CREAT, 0600)) >= 0);
  CHECK((plain = open(in_scratch("plain"), O_RDWR | O_CREAT, 0600)) >= 0);
  CHECK((layer = open(in_scratch("layer"), O_RDWR | O_CREAT, 0600)) >= 0);
  OK(treering_archive_save_fd(store, names, 1, NULL, 0, archive, NULL, &err));
  OK(treering_archive_export_fd(store, names[0], NULL, 0, NULL, 0, plain, NULL, &err));
  OK(treering_diff_tree(NULL, TREERING_PATH(tree()), "scratch", NULL, 0, NULL, &whole, NULL, &err));
  OK(treering_layer_write_fd(whole, NULL, 0, layer, NULL, &written, sizeof written, &err));
  treering_diff_free(whole);

  FAILS(TREERING_INVALID_ARGUMENT, treering_test_panic_at(NULL, 1, &err));
  sweep("scan", scan, "thread treering-scan");
  sweep("commit", commit, "thread treering-write");
  sweep("diff", diff, "thread treering-diff");
  sweep("layer write", layer_write, "thread treering-write");
  sweep("layer apply", layer_apply, "thread treering-apply");
  sweep("layer list", layer_list, "thread treering-read");
  sweep("unpack", unpack, "thread treering-apply");
  sweep("load", load, "thread treering-");
  sweep("import", import, "thread treering-");
  sweep("save", save, "");
  sweep("export", export, "");
  sweep("fsck", fsck, "");
  sweep("prune", prune, "");

  /* Both stores are sound, and hold nothing that was begun. */
  OK(treering_store_fsck(store, NULL, NULL, &found, sizeof found, NULL, &err));
  CHECK(found.problems == 0);
  OK(treering_store_fsck(other, NULL, NULL, &found, sizeof found, NULL, &err));
  CHECK(found.problems == 0);
  sh("[ -z \"$(find '%s' '%s' -type f)\" ]", in_scratch("store/tmp"), in_scratch("other/tmp"));
  treering_store_free(store);
  treering_store_free(other);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
