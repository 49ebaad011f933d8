/*
 * Checkpoint a directory after every step, and go back to any of them.
 *
 *     checkpoint DIRECTORY NAME COMMAND...    runs each command in DIRECTORY; NAME:0 is the start, NAME:1 what the
 *                                             first command left, and so on: one layer each
 *     checkpoint --back DIRECTORY NAME:STEP   makes DIRECTORY what it was after that step
 *
 *     cc checkpoint.c $(pkg-config --cflags --libs treering) -o checkpoint
 *
 * A sandbox would start its commands isolated; here they run in a child of this process, as they are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <treering.h>
#include <unistd.h>

static treering_store *store;
static treering_error *err;

static void check(treering_status status) {
  if (status == TREERING_OK) return;
  fprintf(stderr, "%s\n", treering_error_text(err));
  treering_error_free(err);
  treering_store_free(store);
  exit(1);
}

/* Keeps the directory as NAME:STEP. Every commit after the first holds only what changed since the one before. */
static void keep(const char *dir, const char *name, int step) {
  treering_commit_result made;
  char reference[300];
  snprintf(reference, sizeof reference, "%s:%d", name, step);
  check(treering_commit(store, TREERING_PATH(dir), reference, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  printf("%s %.19s +%llu ~%llu -%llu\n", reference, made.image_id.text, (unsigned long long)made.added,
         (unsigned long long)made.changed, (unsigned long long)made.deleted);
  fflush(stdout);
}

static int run(const char *dir, const char *command) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    if (chdir(dir) == 0) execl("/bin/sh", "sh", "-ec", command, (char *)NULL);
    _exit(127);
  }
  return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

/* Only what differs is touched. What was done since and is in no image goes; all that was kept stays in the store. */
static void back(const char *dir, const char *reference) {
  treering_checkout_result made;
  treering_checkout_options options = {0};
  options.discard = true;
  check(treering_checkout(store, reference, TREERING_PATH(dir), &options, sizeof options, NULL, &made, sizeof made,
                          NULL, NULL, &err));
  printf("%s is in %s: %llu written, %llu removed, %llu as they were\n", reference, dir,
         (unsigned long long)made.written, (unsigned long long)made.removed, (unsigned long long)made.kept);
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: checkpoint DIRECTORY NAME COMMAND... | checkpoint --back DIRECTORY NAME:STEP\n");
    return 2;
  }
  check(treering_store_open_default(&store, &err));
  if (strcmp(argv[1], "--back") == 0) {
    back(argv[2], argv[3]);
  } else {
    keep(argv[1], argv[2], 0);
    for (int step = 1; step <= argc - 3; step++) {
      if (run(argv[1], argv[step + 2]) != 0) {
        fprintf(stderr, "step %d failed; %s:%d is the one before\n", step, argv[2], step - 1);
        treering_store_free(store);
        return 1;
      }
      keep(argv[1], argv[2], step);
    }
  }
  treering_store_free(store);
  return 0;
}
