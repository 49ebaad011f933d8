/* The cost of crossing the boundary per change iterated: the best of many batches, which a busy machine cannot spoil.
 */
#include <time.h>

#include "common.h"

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

int main(void) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_change changes[256];
  size_t n = 0, total = 0;
  double best = 1e12;
  scratch();
  const char *tree = in_scratch("tree");
  sh("mkdir '%s' && cd '%s' && seq 20000 | xargs touch", tree, tree);
  OK(treering_diff_tree(NULL, TREERING_PATH(tree), "scratch", NULL, 0, NULL, &diff, NULL, &err));
  for (;;) {
    double start = now();
    OK(treering_diff_next(diff, changes, sizeof changes[0], 256, &n, &err));
    double each = (now() - start) / 256;
    if (n == 0) break;
    if (n == 256 && each < best) best = each;
    total += n;
  }
  fprintf(stderr, "overhead: %.0f ns for each change, the best of %zu batches\n", best, total / 256);
  CHECK(total == 20000);
  /* docs/capi.md says 0.05 us. Tools that make a program slow set the rounds of the soak. */
  CHECK(best < (getenv("TREERING_SOAK_ROUNDS") ? 100000 : 1000));
  treering_diff_free(diff);
  return 0;
}
