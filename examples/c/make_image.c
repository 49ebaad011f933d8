/*
 * Make an image without Docker: make_image DIRECTORY NAME
 *
 *     cc make_image.c $(pkg-config --cflags --libs treering) -o make_image
 *     ./make_image rootfs app:v1
 */
#include <stdio.h>
#include <treering.h>

int main(int argc, char **argv) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_commit_result image;
  if (argc != 3) return fprintf(stderr, "usage: make_image DIRECTORY NAME\n"), 2;
  if (treering_store_open_default(&store, &err) != TREERING_OK
      || treering_commit(store, TREERING_PATH(argv[1]), argv[2], NULL, 0, NULL, &image, sizeof image, NULL, &err)
             != TREERING_OK)
    return fprintf(stderr, "%s\n", treering_error_text(err)), treering_error_free(err), treering_store_free(store), 1;
  puts(image.image_id.text);
  return treering_store_free(store);
}
