/* Helpers of the C tests: checks that say what went wrong, scratch directories, and small trees. */
#ifndef TREERING_TESTS_COMMON_H
#define TREERING_TESTS_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "treering_test.h"

/* Ends the program unless the condition holds. */
#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                          \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

/* Ends the program, with the error's text, unless the call succeeded. `err` must be in scope and NULL. */
#define OK(call)                                                                                                       \
  do {                                                                                                                 \
    treering_status status_ = (call);                                                                                  \
    if (status_ != TREERING_OK) {                                                                                      \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, treering_status_name(status_),                            \
              err ? treering_error_text(err) : "?");                                                                   \
      exit(1);                                                                                                         \
    }                                                                                                                  \
    CHECK(err == NULL);                                                                                                \
  } while (0)

/* Ends the program unless the call fails with this status and gives an error that says so. */
#define FAILS(expected, call)                                                                                          \
  do {                                                                                                                 \
    treering_status status_ = (call);                                                                                  \
    if (status_ != (expected)) {                                                                                       \
      fprintf(stderr, "%s:%d: expected %s, got %s: %s\n", __FILE__, __LINE__, treering_status_name(expected),          \
              treering_status_name(status_), err ? treering_error_text(err) : "no error");                             \
      exit(1);                                                                                                         \
    }                                                                                                                  \
    CHECK(err != NULL && treering_error_status(err) == status_);                                                       \
    CHECK(strlen(treering_error_message(err)) > 0);                                                                    \
    CHECK(treering_error_free(err) == TREERING_OK);                                                                    \
    err = NULL;                                                                                                        \
  } while (0)

static char scratch_dir[256];

static void sh(const char *format, ...) {
  char command[4096];
  va_list list;
  va_start(list, format);
  vsnprintf(command, sizeof command, format, list);
  va_end(list);
  if (system(command) != 0) {
    fprintf(stderr, "failed: %s\n", command);
    exit(1);
  }
}

static void scratch_remove(void) {
  char command[600];
  if (scratch_dir[0] == 0) return;
  snprintf(command, sizeof command, "chmod -R u+rwx '%s'; rm -rf '%s'", scratch_dir, scratch_dir);
  if (system(command) != 0) fprintf(stderr, "cannot remove %s\n", scratch_dir);
  scratch_dir[0] = 0;
}

/* Makes the scratch directory of this program, and removes it at its end. */
static void scratch(void) {
  static int made;
  const char *base = getenv("TMPDIR");
  snprintf(scratch_dir, sizeof scratch_dir, "%s/treering-c-XXXXXX", base ? base : "/tmp");
  CHECK(mkdtemp(scratch_dir) != NULL);
  if (made++ == 0) atexit(scratch_remove);
}

/* A path in the scratch directory; good until the program ends. */
static const char *in_scratch(const char *name) {
  static char paths[32][512];
  char path[512];
  snprintf(path, sizeof path, "%s/%s", scratch_dir, name);
  for (size_t i = 0; i < 32; i++) {
    if (paths[i][0] == 0) strcpy(paths[i], path);
    if (strcmp(paths[i], path) == 0) return paths[i];
  }
  CHECK(!"too many different paths");
  return NULL;
}

/* Only what a program uses should be there, without warnings for the rest. */
static inline void common_unused(void) {
  (void)sh;
  (void)scratch;
  (void)in_scratch;
  (void)common_unused;
}

#endif
