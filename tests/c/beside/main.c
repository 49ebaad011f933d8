/* usage: TREE: commits a tree with each compression, in a program that has a zstd and a libdeflate of its own. Prints
 * the digests of the layers. */
#include <stdio.h>
#include <stdlib.h>
#include <treering.h>

unsigned ZSTD_versionNumber(void);

int main(int argc, char **argv) {
  const char *compressions[] = {"zstd", "gzip"};
  treering_store *store = NULL;
  treering_error *err = NULL;
  treering_commit_result made;
  /* Of other.c, not the library's. */
  if (argc != 2 || ZSTD_versionNumber() != 42) return 2;
  if (treering_store_open_default(&store, &err)) goto failed;
  for (size_t i = 0; i < 2; i++) {
    treering_commit_options options = {0};
    options.base = "scratch";
    options.compression = compressions[i];
    if (treering_commit(store, TREERING_PATH(argv[1]), NULL, &options, sizeof options, NULL, &made, sizeof made, NULL,
                        &err))
      goto failed;
    printf("%s %s\n", compressions[i], made.layer_digest.text);
  }
  treering_store_free(store);
  return 0;
failed:
  fprintf(stderr, "%s\n", treering_error_text(err));
  return 1;
}
