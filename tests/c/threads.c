/* Many threads at once: progress and cancelling from another thread, one handle used by all, BUSY where it must be. */
#include <pthread.h>
#include <stdatomic.h>

#include "common.h"

static treering_control *control;
static treering_store *store;
static treering_diff *shared_diff;
static atomic_int stop, busy;

static int32_t slow(void *userdata, const uint8_t *data, size_t len) {
  (void)data;
  (void)len;
  atomic_fetch_add((atomic_int *)userdata, 1);
  usleep(2000);
  return 0;
}

static void *cancels(void *argument) {
  treering_error *err = NULL;
  treering_progress progress;
  do {
    OK(treering_control_progress(control, &progress, sizeof progress, &err));
    usleep(500);
  } while (progress.bytes_written == 0 && atomic_load((atomic_int *)argument) == 0);
  CHECK(!progress.cancelled && progress.bytes_total > 0);
  OK(treering_control_cancel(control, &err));
  return NULL;
}

static void cancelling(void) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_layer_result written;
  pthread_t thread;
  atomic_int calls = 0;
  const char *tree = in_scratch("big");
  sh("mkdir '%s' && head -c 60000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >'%s/f' "
     "|| head -c 60000000 /dev/urandom >'%s/f'",
     tree, tree, tree);
  OK(treering_control_new(&control, &err));
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  pthread_create(&thread, NULL, cancels, &calls);
  FAILS(TREERING_CANCELLED,
        treering_layer_write_callback(diff, NULL, 0, slow, &calls, NULL, control, &written, sizeof written, &err));
  pthread_join(thread, NULL);
  /* What was cancelled once stays cancelled. */
  treering_commit_result made;
  FAILS(TREERING_CANCELLED,
        treering_commit(store, TREERING_PATH(tree), NULL, NULL, 0, control, &made, sizeof made, NULL, &err));
  treering_control_free(control);
  treering_diff_free(diff);
  sh("rm -r '%s'", tree);
}

/* Gives a little at a time, and cancels. */
static int32_t dribbles(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  int *calls = userdata;
  if (++*calls == 10) treering_control_cancel(control, NULL);
  *len = capacity < 100 ? capacity : 100;
  memset(data, 'x', *len);
  return *calls > 10;
}

static void not_read_from_once_cancelled(void) {
  treering_error *err = NULL;
  treering_commit_result made;
  treering_loaded *loaded = NULL;
  treering_layer_list *list = NULL;
  int calls = 0;
  OK(treering_control_new(&control, &err));
  FAILS(TREERING_CANCELLED, treering_archive_import_callback(store, dribbles, &calls, NULL, NULL, NULL, 0, control,
                                                             &made, sizeof made, &err));
  CHECK(calls == 10);
  FAILS(TREERING_CANCELLED,
        treering_archive_load_callback(store, dribbles, &calls, NULL, NULL, 0, control, &loaded, &err));
  FAILS(TREERING_CANCELLED, treering_layer_list_callback(dribbles, &calls, NULL, NULL, 0, control, &list, &err));
  CHECK(calls == 10);
  treering_control_free(control);
}

struct heard {
  int calls, at, finalized;
  uint64_t written;
};

static int32_t hears(void *userdata, const treering_progress *progress, size_t size) {
  struct heard *heard = userdata;
  CHECK(size == sizeof *progress && progress->bytes_written >= heard->written && heard->finalized == 0);
  heard->written = progress->bytes_written;
  return ++heard->calls == heard->at ? 3 : 0;
}

static void heard_enough(void *userdata) { ((struct heard *)userdata)->finalized++; }

static int32_t takes(void *userdata, const uint8_t *data, size_t len) {
  (void)userdata;
  (void)data;
  (void)len;
  return 0;
}

/* Progress is reported while an operation runs and once at its end, and an answer cancels. */
static void told(void) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_layer_result written;
  struct heard heard = {0}, stops = {.at = 2}, refused = {0};
  const char *tree = in_scratch("told");
  sh("mkdir '%s' && head -c 1000000 /dev/urandom >'%s/f'", tree, tree);
  OK(treering_control_new(&control, &err));
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  OK(treering_control_set_progress(control, hears, &heard, heard_enough, 60000, &err));
  OK(treering_layer_write_callback(diff, NULL, 0, takes, NULL, NULL, control, &written, sizeof written, &err));
  CHECK(heard.calls == 1 && heard.written == written.size && heard.finalized == 0);
  OK(treering_control_set_progress(control, hears, &stops, heard_enough, 1, &err));
  CHECK(heard.finalized == 1);
  stops.written = heard.written;
  /* Goes on until it is cancelled. */
  treering_status status;
  do status = treering_layer_write_callback(diff, NULL, 0, takes, NULL, NULL, control, &written, sizeof written, NULL);
  while (status == TREERING_OK);
  CHECK(status == TREERING_CANCELLED && stops.calls >= 2);
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_set_progress(NULL, hears, &refused, heard_enough, 1, &err));
  CHECK(refused.finalized == 1);
  OK(treering_control_set_progress(control, NULL, &refused, heard_enough, 1, &err));
  CHECK(refused.finalized == 2 && stops.finalized == 1);
  treering_control_free(control);
  treering_diff_free(diff);
}

static void *iterates(void *argument) {
  treering_change changes[64];
  size_t n = 0;
  (void)argument;
  while (!atomic_load(&stop)) {
    treering_error *err = NULL;
    treering_status status = treering_diff_next(shared_diff, changes, sizeof changes[0], 64, &n, &err);
    if (status == TREERING_BUSY) {
      atomic_fetch_add(&busy, 1);
      CHECK(treering_error_free(err) == TREERING_OK);
    } else {
      CHECK(status == TREERING_OK);
      if (n == 0) treering_diff_rewind(shared_diff, NULL);
    }
    /* Everything but iterating may be done by all at once. */
    CHECK(treering_diff_len(shared_diff) == 2000);
  }
  return NULL;
}

static void one_at_a_time(void) {
  treering_error *err = NULL;
  pthread_t threads[4];
  const char *tree = in_scratch("many");
  sh("mkdir '%s' && cd '%s' && seq 2000 | xargs touch", tree, tree);
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &shared_diff, NULL, &err));
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, iterates, NULL);
  for (int i = 0; i < 200 && atomic_load(&busy) < 10; i++) usleep(10000);
  atomic_store(&stop, 1);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK(atomic_load(&busy) > 0);
  treering_diff_free(shared_diff);
}

static void *commits(void *argument) {
  treering_error *err = NULL;
  treering_commit_result made;
  char tree[600], name[32];
  int number = (int)(intptr_t)argument;
  snprintf(tree, sizeof tree, "%s/t%d", scratch_dir, number);
  snprintf(name, sizeof name, "many:t%d", number);
  OK(treering_commit(store, TREERING_PATH(tree), name, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  return NULL;
}

static void eight_at_once(void) {
  treering_error *err = NULL;
  pthread_t threads[8];
  treering_refs *refs = NULL;
  for (int i = 0; i < 8; i++) sh("mkdir '%s/t%d' && echo %d >'%s/t%d/f'", scratch_dir, i, i, scratch_dir, i);
  for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, commits, (void *)(intptr_t)i);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  OK(treering_refs_list(store, &refs, &err));
  CHECK(treering_refs_len(refs) == 8);
  treering_refs_free(refs);
}

static void *frees(void *argument) {
  usleep(1000);
  CHECK(treering_store_free(argument) == TREERING_OK);
  return NULL;
}

/* A handle that is freed while a call uses it ends; the call does not. */
static void freed_while_in_use(void) {
  treering_error *err = NULL;
  treering_fsck_result fsck;
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    treering_store *own = NULL;
    treering_status status;
    OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &own, &err));
    pthread_create(&thread, NULL, frees, own);
    do status = treering_store_fsck(own, NULL, NULL, &fsck, sizeof fsck, NULL, NULL);
    while (status == TREERING_OK);
    CHECK(status == TREERING_INVALID_ARGUMENT);
    pthread_join(thread, NULL);
  }
}

int main(void) {
  treering_error *err = NULL;
  scratch();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  eight_at_once();
  cancelling();
  not_read_from_once_cancelled();
  told();
  one_at_a_time();
  freed_while_in_use();
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
