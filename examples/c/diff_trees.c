/*
 * Prints what changed between two directories, as `docker diff` prints it: diff_trees OLD NEW
 *
 *     cc diff_trees.c $(pkg-config --cflags --libs treering) -o diff_trees
 */
#include <stdio.h>
#include <treering.h>

static int failed(treering_error *err) {
  fprintf(stderr, "%s\n", treering_error_text(err));
  if (treering_error_hint(err) != NULL) fprintf(stderr, "hint: %s\n", treering_error_hint(err));
  treering_error_free(err);
  return 1;
}

int main(int argc, char **argv) {
  treering_error *err = NULL;
  treering_diff *diff = NULL;
  treering_change changes[64];
  size_t n = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: diff_trees OLD NEW\n");
    return 2;
  }
  if (treering_diff_trees(NULL, TREERING_PATH(argv[1]), TREERING_PATH(argv[2]), NULL, 0, NULL, &diff, NULL, &err)
      != TREERING_OK) {
    return failed(err);
  }
  do {
    if (treering_diff_next(diff, changes, sizeof changes[0], 64, &n, &err) != TREERING_OK) {
      treering_diff_free(diff);
      return failed(err);
    }
    for (size_t i = 0; i < n; i++) {
      /* A path is bytes with a length, and goes out as it is. */
      printf("%c /", " ACD"[changes[i].kind]);
      fwrite(changes[i].path, 1, changes[i].path_len, stdout);
      putchar('\n');
    }
  } while (n > 0);
  treering_diff_free(diff);
  return 0;
}
