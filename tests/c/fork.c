/* A child that forked off opens a store of its own: what it writes has its own names, whatever its parent has open. */
#include <sys/wait.h>

#include "common.h"

enum { OPEN_FILES = 60 };

static void commit(const char *name) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_commit_options options = {0};
  treering_commit_result made;
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  options.base = "scratch";
  options.message = name;
  OK(treering_commit(store, TREERING_PATH(in_scratch("tree")), name, &options, sizeof options, NULL, &made, sizeof made,
                     NULL, &err));
  treering_store_free(store);
}

int main(void) {
  treering_error *err = NULL;
  treering_store *store = NULL;
  treering_fsck_result found;
  treering_refs *refs = NULL;
  int go[2], status, files[OPEN_FILES];
  char byte = 0;
  scratch();
  sh("mkdir '%s' && echo 1 >'%s/f'", in_scratch("tree"), in_scratch("tree"));
  /* Whatever the library keeps for the process, it has it now. */
  commit("parent");
  CHECK(pipe(go) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(read(go[0], &byte, 1) == 1);
    for (int i = 0; i < 3; i++) {
      char name[] = "child:0";
      name[6] = (char)('0' + i);
      commit(name);
    }
    _exit(0);
  }
  for (int i = 0; i < OPEN_FILES; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/open%d", scratch_dir, i);
    files[i] = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(files[i] >= 0 && write(files[i], "of the parent", 13) == 13);
  }
  CHECK(write(go[1], &byte, 1) == 1);
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (int i = 0; i < OPEN_FILES; i++) {
    struct stat now;
    CHECK(fstat(files[i], &now) == 0 && now.st_nlink == 1);
    close(files[i]);
  }
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  OK(treering_store_fsck(store, "bytes", NULL, &found, sizeof found, NULL, &err));
  CHECK(found.problems == 0);
  OK(treering_refs_list(store, &refs, &err));
  CHECK(treering_refs_len(refs) == 4);
  treering_refs_free(refs);
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
