/* What crossing the boundary costs per change iterated. Prints; fails only when it is absurd. */
#include <time.h>

#include "common.h"

int main(void) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_change changes[256];
  struct timespec start, end;
  size_t n = 0, total = 0;
  scratch();
  const char *tree = in_scratch("tree");
  sh("mkdir '%s' && cd '%s' && seq 20000 | xargs touch", tree, tree);
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, NULL, &diff, NULL, &err));
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    OK(treering_diff_next(diff, changes, sizeof changes[0], 256, &n, &err));
    total += n;
  } while (n > 0);
  clock_gettime(CLOCK_MONOTONIC, &end);
  double nanos = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
  fprintf(stderr, "overhead: %.0f ns for each of %zu changes\n", nanos / (double)total, total);
  CHECK(total == 20000);
  CHECK(nanos / (double)total < 100000);
  treering_diff_free(diff);
  return 0;
}
