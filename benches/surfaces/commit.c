/* usage: STORE TREE TIMES: commits a tree that often and prints how many seconds each time took. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <treering.h>

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  treering_store *store = NULL;
  const int64_t created = 0;
  const treering_commit_options options = {.base = "scratch", .created = &created};
  treering_error *err = NULL;
  treering_commit_result made;
  if (argc != 4 || treering_store_open(TREERING_PATH(argv[1]), NULL, 0, &store, &err)) return 1;
  for (int i = 0; i < atoi(argv[3]); i++) {
    double began = now();
    if (treering_commit(store, TREERING_PATH(argv[2]), "a:b", &options, sizeof options, NULL, &made, sizeof made, NULL,
                        &err)) {
      fprintf(stderr, "%s\n", treering_error_text(err));
      return 1;
    }
    printf("%.6f\n", now() - began);
  }
  treering_store_free(store);
  return 0;
}
