/* Ten thousand rounds of opening, committing, failing and cancelling, before and in the middle: memory and descriptors
 * stay where they are. TREERING_SOAK_ROUNDS says how many, for tools that make a program slow. */
#include <dirent.h>

#include "common.h"

static treering_error *err;

/* Memory of its own: pages of the library's file come and go as the kernel likes. */
static size_t resident(void) {
  size_t all = 0, pages = 0, of_files = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%zu %zu %zu", &all, &pages, &of_files) == 3);
  fclose(file);
  return (pages - of_files) * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t descriptors(void) {
  size_t n = 0;
  DIR *dir = opendir("/proc/self/fd");
  CHECK(dir != NULL);
  while (readdir(dir) != NULL) n++;
  closedir(dir);
  return n;
}

/* A tar that comes in small pieces, and cancels what reads it when the third one is asked for. */
struct source {
  uint8_t bytes[1 << 16];
  size_t len, at;
  int reads;
  treering_control *control;
};

static int32_t read_and_cancel(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  struct source *from = userdata;
  size_t rest = from->len - from->at;
  *len = capacity < 1024 ? capacity : 1024;
  if (*len > rest) *len = rest;
  memcpy(data, from->bytes + from->at, *len);
  from->at += *len;
  return ++from->reads == 3 && treering_control_cancel(from->control, NULL) != TREERING_OK;
}

static struct source source;

static void fill_source(void) {
  treering_diff *diff = NULL;
  treering_layer_options options = {0};
  treering_layer_result made;
  const char *file = in_scratch("layer");
  OK(treering_diff_tree(NULL, TREERING_PATH(in_scratch("tree")), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  options.compression = "none", options.level = 0;
  int fd = open(file, O_RDWR | O_CREAT, 0600);
  OK(treering_layer_write_fd(diff, &options, sizeof options, fd, NULL, &made, sizeof made, &err));
  ssize_t n = pread(fd, source.bytes, sizeof source.bytes, 0);
  CHECK(n > 3 * 1024 && (uint64_t)n == made.size);
  source.len = (size_t)n;
  close(fd);
  treering_diff_free(diff);
}

static void one_round(int number) {
  treering_store *store = NULL;
  treering_control *control = NULL;
  treering_commit_options options = {0};
  treering_commit_result made;
  treering_diff *diff = NULL;
  treering_image *image = NULL;
  treering_report *report = NULL;
  const char *tree = in_scratch("tree"), *name = "soak:now";
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_control_new(&control, &err));
  options.base = "scratch";
  options.created = &(const int64_t){1700000000};
  options.threads = 1 + (size_t)(number % 2);
  FAILS(TREERING_NOT_FOUND, treering_image_open(store, "absent", NULL, &image, &err));
  FAILS(TREERING_NOT_FOUND, treering_commit(store, TREERING_PATH("/none/such"), name, &options, sizeof options, NULL,
                                            &made, sizeof made, NULL, &err));
  OK(treering_commit(store, TREERING_PATH(tree), name, &options, sizeof options, control, &made, sizeof made, &report,
                     &err));
  CHECK(treering_report_free(report) == TREERING_OK);
  OK(treering_image_open(store, name, NULL, &image, &err));
  CHECK(treering_image_free(image) == TREERING_OK);
  OK(treering_diff_tree(store, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_free(diff) == TREERING_OK);
  treering_layer_list *list = NULL;
  source.control = control;
  source.at = 0, source.reads = 0;
  if (number % 2 == 0)
    FAILS(TREERING_CANCELLED,
          treering_layer_list_callback(read_and_cancel, &source, NULL, NULL, 0, control, &list, &err));
  else
    FAILS(TREERING_CANCELLED, treering_archive_import_callback(store, read_and_cancel, &source, NULL, "soak:in", NULL,
                                                               0, control, &made, sizeof made, &err));
  CHECK(source.reads >= 3);
  /* It is cancelled by now, before the next operation begins. */
  FAILS(TREERING_CANCELLED, treering_commit(store, TREERING_PATH(tree), name, &options, sizeof options, control, &made,
                                            sizeof made, NULL, &err));
  if (number % 100 == 0) FAILS(TREERING_INTERNAL, treering_test_panic(&err));
  CHECK(treering_control_free(control) == TREERING_OK);
  CHECK(treering_store_free(store) == TREERING_OK);
}

int main(void) {
  const char *text = getenv("TREERING_SOAK_ROUNDS");
  int rounds = text ? atoi(text) : 10000;
  scratch();
  sh("mkdir -p '%s/d' && seq 10000 >'%s/d/f' && ln -s f '%s/d/l'", in_scratch("tree"), in_scratch("tree"),
     in_scratch("tree"));
  fill_source();
  /* The first rounds fill caches and pools. */
  int warm = rounds / 10;
  for (int i = 0; i < warm; i++) one_round(i);
  size_t memory = resident(), open_files = descriptors();
  for (int i = warm; i < rounds; i++) one_round(i);
  size_t memory_then = resident(), open_then = descriptors();
  fprintf(stderr, "soak: %d rounds, resident %zu KiB after %d and %zu KiB at the end, %zu and %zu descriptors\n",
          rounds, memory / 1024, warm, memory_then / 1024, open_files, open_then);
  CHECK(open_files == open_then);
  CHECK(treering_test_live_handles() == 0);
  sh("[ -z \"$(find '%s' -type f)\" ]", in_scratch("store/tmp"));
  /* An allocator may keep a little more; a leak of 100 bytes a round would be 1 MB in 10000. Sanitizers keep what was
   * freed, and count leaks themselves. */
  if (!text) CHECK(memory_then < memory + 1024 * 1024);
  return 0;
}
