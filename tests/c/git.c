/* Builds from repositories: a function of the program runs git. */
#include "common.h"

#include <spawn.h>
#include <sys/wait.h>

static treering_error *err;
static treering_store *store;

/* What the function did, and what it is to return. */
struct work {
  int calls, code;
  bool silent, secret_free;
  const char *repository;
};

static size_t content(const char *path, uint8_t *buffer, size_t capacity) {
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  size_t len = fread(buffer, 1, capacity, file);
  CHECK(fclose(file) == 0);
  return len;
}

/* The address is that of a directory here, which the arguments of the library alone would not reach. */
static int32_t run_git(void *userdata, const treering_git_call *call, size_t size, treering_git_answer *answer) {
  struct work *work = userdata;
  static char instead[600], variables[64][600];
  static char *arguments[64], *environment[64];
  static uint8_t output[1 << 16], errors[1 << 16];
  work->calls++;
  CHECK(size >= sizeof *call && call->directory.data[call->directory.len] == 0);
  CHECK(strlen((const char *)call->directory.data) == call->directory.len);
  if (work->code != 0 || work->silent) return work->code;

  snprintf(instead, sizeof instead, "url.%s.insteadOf=https://host.example/project.git", work->repository);
  const char *first[] = {"git", "-C", (const char *)call->directory.data, "-c", instead};
  size_t n = 0;
  for (; n < 5; n++) arguments[n] = (char *)(uintptr_t)first[n];
  CHECK(call->arguments_len < 50 && call->environment_len < 50);
  for (size_t i = 0; i < call->arguments_len; i++) arguments[n++] = (char *)(uintptr_t)call->arguments[i];
  arguments[n] = NULL;
  for (n = 0; n < call->environment_len; n++) {
    const treering_pair *pair = &call->environment[n];
    work->secret_free = work->secret_free || strcmp(pair->key, "GIT_CONFIG_NOSYSTEM") == 0;
    CHECK(strcmp(pair->key, "PATH") != 0);
    const char *value = strcmp(pair->key, "GIT_ALLOW_PROTOCOL") == 0 ? "file" : pair->value;
    snprintf(variables[n], sizeof variables[n], "%s=%s", pair->key, value);
    environment[n] = variables[n];
  }
  snprintf(variables[n], sizeof variables[n], "PATH=%s", getenv("PATH"));
  environment[n] = variables[n];
  environment[n + 1] = NULL;

  const char *out = in_scratch("git-out"), *wrong = in_scratch("git-err");
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status;
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600) == 0);
  CHECK(posix_spawn_file_actions_addopen(&actions, 2, wrong, O_WRONLY | O_CREAT | O_TRUNC, 0600) == 0);
  CHECK(posix_spawnp(&pid, "git", &actions, NULL, arguments, environment) == 0);
  CHECK(posix_spawn_file_actions_destroy(&actions) == 0 && waitpid(pid, &status, 0) == pid);
  size_t output_len = content(out, output, sizeof output), errors_len = content(wrong, errors, sizeof errors);
  return treering_git_answer_set(answer, status == 0, output, output_len, errors, errors_len, NULL) == TREERING_OK ? 0
                                                                                                                   : 9;
}

static void builds_from_a_repository(void) {
  const char *repository = in_scratch("repository");
  sh("mkdir '%s' && cd '%s' && git init -q -b main . && printf 'FROM scratch\\nCOPY f /f\\n' >Dockerfile && echo "
     "of-a-repository >f && "
     "git add . && git -c user.name=a -c user.email=a@host.example commit -q -m first",
     repository, repository);
  struct work work = {.repository = repository};
  treering_build_options options = {0};
  treering_build_result made;
  treering_bytes *json = NULL;
  const char *tags[] = {"app:1"};
  options.context_address = "https://host.example/project.git#main";
  options.tags = tags, options.tags_len = 1;
  FAILS(TREERING_UNSUPPORTED, treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err));
  options.git.run = run_git, options.git.userdata = &work;
  OK(treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err));
  CHECK(work.calls > 3 && work.secret_free && made.carried_out > 0);
  treering_image *image = NULL;
  treering_reader *reader = NULL;
  uint8_t text[32];
  size_t len = 0;
  OK(treering_image_open(store, "app:1", NULL, &image, &err));
  OK(treering_image_file(image, (const uint8_t *)"f", 1, NULL, &reader, &err));
  OK(treering_reader_read(reader, text, sizeof text, &len, &err));
  CHECK(len == 16 && memcmp(text, "of-a-repository\n", len) == 0);
  CHECK(treering_reader_free(reader) == TREERING_OK && treering_image_free(image) == TREERING_OK);
  OK(treering_build_targets(store, &options, sizeof options, NULL, &json, &err));
  CHECK(strstr((const char *)treering_bytes_data(json), "scratch") != NULL && treering_bytes_free(json) == TREERING_OK);

  options.context_address = "https://host.example/project.git#absent";
  treering_status status = treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err);
  CHECK(status != TREERING_OK && status != TREERING_CALLBACK && treering_error_free(err) == TREERING_OK);
  err = NULL;
}

static void fails_as_the_function_does(void) {
  struct work work = {.code = 42};
  treering_build_options options = {0};
  treering_build_result made;
  options.context_address = "https://host.example/project.git#main";
  options.git = (treering_git){run_git, &work};
  CHECK(treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err) == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == 42 && treering_error_free(err) == TREERING_OK);
  err = NULL;
  work.code = 0, work.silent = true;
  CHECK(treering_build(store, &options, sizeof options, NULL, &made, sizeof made, &err) == TREERING_CALLBACK);
  CHECK(strstr(treering_error_text(err), "no answer") != NULL && treering_error_free(err) == TREERING_OK);
  err = NULL;
  CHECK(work.calls == 2);
  FAILS(TREERING_INVALID_ARGUMENT, treering_git_answer_set(NULL, true, NULL, 0, NULL, 0, &err));
}

int main(void) {
  scratch();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  builds_from_a_repository();
  fails_as_the_function_does();
  CHECK(treering_store_free(store) == TREERING_OK);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
