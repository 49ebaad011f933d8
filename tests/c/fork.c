/* A child that forked off opens a store of its own: what it writes has its own names, whatever its parent has open. And
 * one that never uses the library blocks nothing. */
#include <signal.h>
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

struct source {
  int fd;
  pid_t child;
};

/* Reads from a file; the first time it is called, in the middle of an import, a child forks off. */
static int32_t forks(void *userdata, uint8_t *data, size_t capacity, size_t *len) {
  struct source *source = userdata;
  if (source->child == 0) {
    source->child = fork();
    if (source->child == 0) {
      alarm(120); /* whatever becomes of the parent */
      pause();
      _exit(0);
    }
  }
  ssize_t n = read(source->fd, data, capacity);
  *len = n < 0 ? 0 : (size_t)n;
  return n < 0 || source->child < 0;
}

/* The child has copies of all descriptors that its parent had in the import, those of locks among them. */
static void idle_child(treering_store *store) {
  treering_error *err = NULL;
  treering_commit_result made;
  treering_prune_result pruned;
  const treering_prune_options at_once = {.wait = &(const uint64_t){0}};
  struct source source = {open(in_scratch("tree.tar"), O_RDONLY), 0};
  CHECK(source.fd >= 0);
  OK(treering_archive_import_callback(store, forks, &source, NULL, "in:1", NULL, 0, NULL, &made, sizeof made, &err));
  CHECK(source.child > 0);
  OK(treering_store_prune(store, &at_once, sizeof at_once, NULL, &pruned, sizeof pruned, NULL, &err));
  commit("after");
  CHECK(kill(source.child, SIGKILL) == 0 && waitpid(source.child, NULL, 0) == source.child);
  close(source.fd);
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
  sh("tar -C '%s' -cf '%s' .", in_scratch("tree"), in_scratch("tree.tar"));
  idle_child(store);
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
