/* Directories that are named by an open descriptor, as /proc/self/fd/N: whatever their names lead to, the call works on
 * them. */
#include "common.h"

static treering_error *err;
static char paths[8][64];

/* Opens a directory, gives its name to another, and returns the path of the descriptor. */
static const char *opened(const char *dir, int number) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(fd >= 0);
  sh("mv '%s' '%s-moved' && mkdir '%s' && printf decoy >'%s/decoy'", dir, dir, dir, dir);
  snprintf(paths[number], sizeof paths[number], "/proc/self/fd/%d", fd);
  return paths[number];
}

int main(void) {
  treering_store *store = NULL;
  treering_commit_result made;
  treering_unpack_result unpacked;
  treering_clone_result cloned;
  treering_checkout_result moved;
  treering_snapshot *snapshot = NULL;
  treering_entry entry;
  scratch();
  sh("mkdir '%s' && printf 1 >'%s/file'", in_scratch("tree"), in_scratch("tree"));
  sh("mkdir '%s' '%s' '%s'", in_scratch("store"), in_scratch("empty"), in_scratch("second"));
  const char *tree = opened(in_scratch("tree"), 0);

  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_commit(store, TREERING_PATH(tree), "app:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  CHECK(made.added == 1);
  OK(treering_snapshot_scan(TREERING_PATH(tree), NULL, 0, NULL, &snapshot, NULL, &err));
  OK(treering_snapshot_lookup(snapshot, TREERING_PATH("file"), &entry, sizeof entry, &err));
  treering_snapshot_free(snapshot);
  sh("printf 2 >'%s-moved/more'", in_scratch("tree"));
  OK(treering_commit(store, TREERING_PATH(tree), "app:2", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  CHECK(made.added == 1 && made.deleted == 0);

  /* An empty directory is filled where it is. */
  const char *empty = opened(in_scratch("empty"), 1);
  OK(treering_unpack(store, "app:2", TREERING_PATH(empty), NULL, 0, NULL, &unpacked, sizeof unpacked, NULL, &err));
  sh("cd '%s' && diff -r tree-moved empty-moved && test -e empty/decoy", scratch_dir);
  OK(treering_checkout(store, "app:1", TREERING_PATH(empty), NULL, 0, NULL, &moved, sizeof moved, NULL, NULL, &err));
  sh("cd '%s/empty-moved' && test \"$(ls -A)\" = file", scratch_dir);

  /* A new directory in an open one. */
  const char *second = opened(in_scratch("second"), 2);
  char below[96];
  snprintf(below, sizeof below, "%s/clone", second);
  OK(treering_clone(store, TREERING_PATH(tree), TREERING_PATH(below), NULL, 0, NULL, &cloned, sizeof cloned, NULL,
                    &err));
  sh("cd '%s' && diff -r tree-moved second-moved/clone && ! test -e second/clone", scratch_dir);

  treering_store_free(store);
  return 0;
}
