/* Commands in trees and containers: streams, time limits, ends; and what is left in this process: nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

#include "common.h"

static treering_error *err;
static treering_store *store;

/* Output of a command. */
struct output {
  char text[3][8192];
  size_t len[3];
  int fail_with;
  int finalized;
};

static int32_t take(void *userdata, int32_t stream, const uint8_t *data, size_t len) {
  struct output *output = userdata;
  CHECK((stream == 1 || stream == 2) && output->len[stream] + len < sizeof output->text[0]);
  memcpy(output->text[stream] + output->len[stream], data, len);
  output->len[stream] += len;
  return output->fail_with;
}

static void finalize(void *userdata) { ((struct output *)userdata)->finalized++; }

static struct output *fresh(void) {
  struct output *output = calloc(1, sizeof *output);
  CHECK(output != NULL);
  return output;
}

static treering_run_options script(const char **words, const char *text) {
  treering_run_options options = {0};
  words[0] = "sh", words[1] = "-c", words[2] = text;
  options.command = words, options.command_len = 3;
  return options;
}

static int wait_for(treering_process *process) {
  treering_process_result result;
  OK(treering_process_wait(process, 60000, &result, sizeof result, &err));
  CHECK(result.ended);
  return result.exit_code;
}

static void image(void) {
  const char *root = in_scratch("bb");
  treering_commit_result made;
  sh("mkdir -p '%s/bin' && cp /usr/bin/busybox '%s/bin' && for a in $(/usr/bin/busybox --list); do [ $a = busybox ] || "
     "ln -s busybox "
     "'%s'/bin/$a; done",
     root, root, root);
  const char *changes[] = {"CMD [\"echo\", \"hello\"]"};
  treering_commit_options options = {0};
  options.changes = changes, options.changes_len = 1;
  OK(treering_commit(store, TREERING_PATH(root), "bb:1", &options, sizeof options, NULL, &made, sizeof made, NULL,
                     &err));
}

/* Counts what this process has open, and its children. */
static size_t traces(void) {
  size_t n = 0;
  DIR *dir = opendir("/proc/self/fd");
  CHECK(dir != NULL);
  while (readdir(dir) != NULL) n++;
  closedir(dir);
  CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
  return n;
}

static void in_a_tree(const char *tree) {
  const char *words[3];
  treering_process *process = NULL;
  treering_process_result result;
  struct output *output = fresh();
  treering_run_options options = script(words, "echo $A; echo err >&2; hostname; chown 5:6 /bin; exit 3");
  treering_container_options settings = {0};
  const char *environment[] = {"A=1"};
  settings.hostname = "oak";
  options.environment = environment, options.environment_len = 1;
  OK(treering_tree_run(store, TREERING_PATH(tree), &settings, sizeof settings, &options, sizeof options, take, output,
                       finalize, NULL, &process, &err));
  CHECK(strlen(treering_process_rung(process)) > 0);
  CHECK(wait_for(process) == 3 && wait_for(process) == 3);
  CHECK(strcmp(output->text[1], "1\noak\n") == 0 && strcmp(output->text[2], "err\n") == 0);
  OK(treering_process_signal(process, SIGTERM, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_process_signal(process, 0, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_process_wait(process, 0, NULL, 0, &err));
  CHECK(treering_process_free(process) == TREERING_OK && output->finalized == 1);
  CHECK(treering_process_free(process) == TREERING_INVALID_ARGUMENT && treering_process_rung(process) == NULL);
  treering_diff *diff = NULL;
  treering_snapshot *now = NULL;
  treering_entry entry;
  OK(treering_diff_tree(store, TREERING_PATH(tree), NULL, NULL, 0, NULL, &diff, NULL, &err));
  OK(treering_diff_new_snapshot(diff, &now, &err));
  OK(treering_snapshot_lookup(now, (const uint8_t *)"bin", 3, &entry, sizeof entry, &err));
  CHECK(entry.uid == 5 && entry.gid == 6);
  treering_snapshot_free(now);
  treering_diff_free(diff);

  /* Descriptors; both outputs in order. */
  int from[2], into[2];
  char text[64] = "";
  CHECK(pipe(from) == 0 && pipe(into) == 0 && write(from[1], "in\n", 3) == 3);
  close(from[1]);
  options = script(words, "cat; echo 1; echo 2 >&2; echo 3");
  options.stdin_fd = &from[0], options.stdout_fd = &into[1], options.merge = true;
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, NULL, NULL, NULL, NULL, &process,
                       &err));
  CHECK(wait_for(process) == 0);
  close(into[1]), close(from[0]);
  CHECK(read(into[0], text, sizeof text - 1) == 9 && strcmp(text, "in\n1\n2\n3\n") == 0);
  close(into[0]);
  treering_process_free(process);

  /* The image's own command; a program that is not there; a directory without a record in the store. */
  memset(output, 0, sizeof *output);
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, NULL, 0, take, output, NULL, NULL, &process, &err));
  CHECK(wait_for(process) == 0 && strcmp(output->text[1], "hello\n") == 0);
  treering_process_free(process);
  const char *missing[] = {"/no/such"};
  options = (treering_run_options){0}, options.command = missing, options.command_len = 1;
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, NULL, NULL, NULL, NULL, &process,
                       &err));
  CHECK(treering_process_wait(process, -1, &result, sizeof result, &err) == TREERING_COMMAND_FAILED);
  CHECK(treering_error_exit_code(err) == 127);
  treering_error_free(err), err = NULL;
  treering_process_free(process);
  FAILS(TREERING_NOT_FOUND, treering_tree_run(store, TREERING_PATH(scratch_dir), NULL, 0, NULL, 0, take, output,
                                              finalize, NULL, &process, &err));
  CHECK(output->finalized == 1);
  settings = (treering_container_options){0}, settings.network = "maybe";
  FAILS(TREERING_INVALID_ARGUMENT, treering_tree_run(store, TREERING_PATH(tree), &settings, sizeof settings, NULL, 0,
                                                     NULL, NULL, NULL, NULL, &process, &err));
  int closed = 999;
  options = script(words, "true"), options.stdout_fd = &closed;
  FAILS(TREERING_INVALID_ARGUMENT, treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options,
                                                     NULL, NULL, NULL, NULL, &process, &err));
  free(output);
}

static void *free_later(void *process) {
  usleep(200000);
  CHECK(treering_process_free(process) == TREERING_OK);
  return NULL;
}

static void ends(const char *tree) {
  const char *words[3];
  treering_process *process = NULL;
  treering_process_result result;
  treering_run_options options = script(words, "sleep 1000 & sleep 1000");
  for (int way = 0; way < 5; way++) {
    treering_control *control = NULL;
    pthread_t thread;
    OK(treering_control_new(&control, &err));
    OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, NULL, NULL, NULL, control,
                         &process, &err));
    OK(treering_process_wait(process, way == 0 ? 0 : 20, &result, sizeof result, &err));
    CHECK(!result.ended && result.exit_code == 0);
    if (way == 0) OK(treering_process_kill(process, &err));
    if (way == 1) OK(treering_control_cancel(control, &err));
    if (way == 2) OK(treering_process_signal(process, SIGKILL, &err));
    if (way == 3) CHECK(pthread_create(&thread, NULL, free_later, process) == 0);
    if (way == 2) CHECK(wait_for(process) == 137);
    else if (way < 4) FAILS(TREERING_CANCELLED, treering_process_wait(process, -1, &result, sizeof result, &err));
    if (way == 3) CHECK(pthread_join(thread, NULL) == 0);
    else CHECK(treering_process_free(process) == TREERING_OK);
    treering_control_free(control);
  }
  struct output *output = fresh();
  output->fail_with = 42;
  options = script(words, "echo x; sleep 1000");
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, take, output, finalize, NULL,
                       &process, &err));
  CHECK(treering_process_wait(process, -1, &result, sizeof result, &err) == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == 42);
  treering_error_free(err), err = NULL;
  treering_process_free(process);
  CHECK(output->finalized == 1);
  free(output);
}

static void containers(void) {
  const char *words[3];
  treering_container *box = NULL, *again = NULL;
  treering_container_state state;
  treering_process *process = NULL, *beside = NULL;
  treering_process_result result;
  treering_commit_result made;
  treering_checkout_result checked;
  treering_bytes *json = NULL;
  struct output *output = fresh(), *more = fresh();
  treering_container_options settings = {0};
  const char *environment[] = {"A=1"}, *command[] = {"sleep", "1000"};
  const treering_pair labels[] = {{"tier", "web"}};
  settings.name = "box", settings.hostname = "oak";
  settings.environment = environment, settings.environment_len = 1;
  settings.labels = labels, settings.labels_len = 1;
  settings.command = command, settings.command_len = 2;
  OK(treering_container_create(store, "bb:1", &settings, sizeof settings, NULL, &box, &err));
  FAILS(TREERING_ALREADY_EXISTS,
        treering_container_create(store, "bb:1", &settings, sizeof settings, NULL, &again, &err));
  OK(treering_container_open(store, treering_container_id(box), &again, &err));
  treering_container_free(again);
  OK(treering_container_get_state(box, &state, sizeof state, &err));
  CHECK(state.status == TREERING_CONTAINER_CREATED);

  treering_run_options options = script(words, "echo $A$(hostname); echo e >&2; touch /made; exit 4");
  OK(treering_container_run(box, &options, sizeof options, take, output, finalize, NULL, &process, &err));
  CHECK(wait_for(process) == 4 && strcmp(output->text[1], "1oak\n") == 0 && strcmp(output->text[2], "e\n") == 0);
  treering_process_free(process);
  CHECK(output->finalized == 1);
  OK(treering_container_get_state(box, &state, sizeof state, &err));
  CHECK(state.status == TREERING_CONTAINER_EXITED && state.exit_code == 4);
  OK(treering_container_logs(box, false, NULL, take, more, finalize, NULL, &err));
  CHECK(more->finalized == 1 && strcmp(more->text[1], "1oak\n") == 0 && strcmp(more->text[2], "e\n") == 0);

  /* Changes, commit, the way back. */
  size_t len = 0;
  const uint8_t *tree = treering_container_tree(box, &len);
  treering_diff *diff = NULL;
  OK(treering_diff_tree(store, tree, len, NULL, NULL, 0, NULL, &diff, NULL, &err));
  CHECK(treering_diff_len(diff) == 1);
  treering_diff_free(diff);
  OK(treering_container_commit(box, "made:1", NULL, 0, NULL, &made, sizeof made, NULL, &err));
  CHECK(made.added == 1);
  OK(treering_container_checkout(box, "bb:1", NULL, 0, NULL, &checked, sizeof checked, NULL, NULL, &err));
  CHECK(checked.removed == 1);

  /* Files go in and come out. */
  char from[600], to[600], text[8] = {0};
  uint64_t unkept = 9;
  snprintf(from, sizeof from, "%s/note", scratch_dir), snprintf(to, sizeof to, "%s/out", scratch_dir);
  FILE *note = fopen(from, "w");
  CHECK(note != NULL && fputs("note\n", note) >= 0 && fclose(note) == 0);
  treering_report *report = NULL;
  OK(treering_container_copy_in(box, TREERING_PATH(from), TREERING_PATH("/bin"), false, NULL, &unkept, &report, &err));
  CHECK(unkept == 0 && treering_report_len(report) == 0);
  treering_report_free(report);
  OK(treering_container_copy_out(box, TREERING_PATH("/bin/note"), TREERING_PATH(to), NULL, NULL, NULL, &err));
  note = fopen(to, "r");
  CHECK(note != NULL && fgets(text, sizeof text, note) != NULL && strcmp(text, "note\n") == 0 && fclose(note) == 0);
  FAILS(TREERING_NOT_FOUND,
        treering_container_copy_out(box, TREERING_PATH("/none"), TREERING_PATH(to), NULL, NULL, NULL, &err));
  FAILS(TREERING_NOT_FOUND,
        treering_container_copy_in(box, TREERING_PATH("/none/x"), TREERING_PATH("/"), false, NULL, NULL, NULL, &err));

  /* In this process, with another command beside it. */
  OK(treering_container_run(box, NULL, 0, NULL, NULL, NULL, NULL, &process, &err));
  FAILS(TREERING_BUSY, treering_container_commit(box, NULL, NULL, 0, NULL, &made, sizeof made, NULL, &err));
  FAILS(TREERING_BUSY, treering_container_remove(box, false, NULL, &err));
  OK(treering_container_copy_in(box, TREERING_PATH(from), TREERING_PATH("/beside"), false, NULL, NULL, NULL, &err));
  remove(to);
  OK(treering_container_copy_out(box, TREERING_PATH("/beside"), TREERING_PATH(to), NULL, NULL, NULL, &err));
  note = fopen(to, "r");
  CHECK(note != NULL && fgets(text, sizeof text, note) != NULL && strcmp(text, "note\n") == 0 && fclose(note) == 0);
  memset(output, 0, sizeof *output);
  options = script(words, "hostname; exit 6");
  OK(treering_container_exec(box, &options, sizeof options, take, output, finalize, NULL, &beside, &err));
  CHECK(wait_for(beside) == 6 && strcmp(output->text[1], "oak\n") == 0 && treering_process_rung(beside)[0] == 0);
  treering_process_free(beside);
  treering_process_free(process);
  OK(treering_container_wait(box, 0, NULL, &result, sizeof result, &err));
  CHECK(result.ended && result.exit_code == 137);

  /* By itself. */
  int fd = 1;
  options = (treering_run_options){0}, options.stdout_fd = &fd;
  FAILS(TREERING_INVALID_ARGUMENT, treering_container_start(box, &options, sizeof options, &err));
  OK(treering_container_start(box, NULL, 0, &err));
  FAILS(TREERING_BUSY, treering_container_start(box, NULL, 0, &err));
  OK(treering_container_wait(box, 20, NULL, &result, sizeof result, &err));
  CHECK(!result.ended);
  OK(treering_container_kill(box, SIGKILL, &err));
  OK(treering_container_wait(box, -1, NULL, &result, sizeof result, &err));
  CHECK(result.ended && result.exit_code == 137);
  FAILS(TREERING_INVALID_ARGUMENT, treering_container_kill(box, SIGKILL, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_container_exec(box, NULL, 0, NULL, NULL, NULL, NULL, &beside, &err));
  OK(treering_container_start(box, NULL, 0, &err));
  OK(treering_container_stop(box, 50, NULL, &err));

  OK(treering_container_rename(box, "other", &err));
  OK(treering_container_inspect(box, &json, &err));
  CHECK(strstr((const char *)treering_bytes_data(json), "/other") != NULL);
  treering_bytes_free(json);
  OK(treering_container_list(store, &json, &err));
  CHECK(strstr((const char *)treering_bytes_data(json), "\"tier\"") != NULL);
  treering_bytes_free(json);
  OK(treering_container_remove(box, true, NULL, &err));
  FAILS(TREERING_NOT_FOUND, treering_container_get_state(box, &state, sizeof state, &err));
  treering_container_free(box);
  CHECK(treering_container_id(box) == NULL);
  free(output), free(more);
}

/* Waits until the person at the end of a terminal has read this. */
static void await_shown(int person, const char *wanted) {
  char shown[8192] = "";
  size_t len = 0;
  while (strstr(shown, wanted) == NULL) {
    struct pollfd fd = {.fd = person, .events = POLLIN};
    int ready;
    /* A child that ends meanwhile interrupts it (signal(7)). */
    do { ready = poll(&fd, 1, 30000); } while (ready == -1 && errno == EINTR);
    CHECK(ready == 1);
    ssize_t n = read(person, shown + len, sizeof shown - 1 - len);
    CHECK(n > 0);
    len += (size_t)n, shown[len] = 0;
  }
}

static void type(int person, const char *keys) { CHECK(write(person, keys, strlen(keys)) == (ssize_t)strlen(keys)); }

/* A terminal for a command in a tree, and containers that are joined in with at one, left and joined again. */
static void terminals(const char *tree) {
  const char *words[3];
  treering_process *process = NULL;
  treering_process_result result;
  treering_container *box = NULL;
  struct termios before, after;
  int person = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(person >= 0 && grantpt(person) == 0 && unlockpt(person) == 0);
  int program = open(ptsname(person), O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(program >= 0 && tcgetattr(program, &before) == 0);
  /* As a program does that passes every key on. */
  cfmakeraw(&before);
  CHECK(tcsetattr(program, TCSANOW, &before) == 0);

  treering_run_options options = script(words, "stty size; read x; echo \"got $x $(stty size)\" >&2; exit 4");
  options.stdin_fd = options.stdout_fd = &program, options.tty = true, options.rows = 33, options.columns = 99;
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, NULL, NULL, NULL, NULL, &process,
                       &err));
  await_shown(person, "33 99");
  OK(treering_process_resize(process, 7, 8, &err));
  type(person, "yes\n");
  await_shown(person, "got yes 7 8");
  FAILS(TREERING_INVALID_ARGUMENT, treering_process_detach(process, &err));
  CHECK(wait_for(process) == 4);
  OK(treering_process_resize(process, 7, 8, &err));
  treering_process_free(process);
  options = script(words, "true");
  OK(treering_tree_run(store, TREERING_PATH(tree), NULL, 0, &options, sizeof options, NULL, NULL, NULL, NULL, &process,
                       &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_process_resize(process, 7, 8, &err));
  CHECK(wait_for(process) == 0);
  treering_process_free(process);

  treering_container_options settings = {0};
  const char *answers[] = {"sh", "-c", "while read x; do echo \"got $x $(stty size)\"; [ $x = end ] && exit 5; done"};
  settings.command = answers, settings.command_len = 3, settings.tty = true, settings.interactive = true;
  OK(treering_container_create(store, "bb:1", &settings, sizeof settings, NULL, &box, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_container_attach(box, NULL, 0, NULL, NULL, NULL, NULL, &process, &err));
  OK(treering_container_start(box, NULL, 0, &err));
  for (int round = 0; round < 4; round++) {
    options = (treering_run_options){0}, options.rows = 33, options.columns = 99;
    options.stdin_fd = options.stdout_fd = &program;
    OK(treering_container_attach(box, &options, sizeof options, NULL, NULL, NULL, NULL, &process, &err));
    type(person, "one\n");
    await_shown(person, "got one 33 99");
    OK(treering_process_resize(process, 5, 6, &err));
    type(person, "two\n");
    await_shown(person, "got two 5 6");
    OK(treering_process_wait(process, 0, &result, sizeof result, &err));
    CHECK(!result.ended && !result.detached);
    if (round == 0) type(person, "\x10\x11");
    if (round == 1) OK(treering_process_detach(process, &err));
    if (round == 3) type(person, "end\n");
    if (round == 2) {
      OK(treering_process_kill(process, &err));
      FAILS(TREERING_CANCELLED, treering_process_wait(process, 60000, &result, sizeof result, &err));
    } else {
      OK(treering_process_wait(process, 60000, &result, sizeof result, &err));
      CHECK(result.ended && result.detached == (round < 3) && result.exit_code == (round < 3 ? 0 : 5));
    }
    treering_process_free(process);
    treering_container_state state;
    OK(treering_container_get_state(box, &state, sizeof state, &err));
    CHECK((state.status == TREERING_CONTAINER_RUNNING) == (round < 3));
  }
  OK(treering_container_remove(box, false, NULL, &err));
  treering_container_free(box);
  CHECK(tcgetattr(program, &after) == 0 && after.c_lflag == before.c_lflag && after.c_iflag == before.c_iflag);
  close(program), close(person);
}

/* Many at once, each with its own tree. */
static void *many(void *number) {
  treering_error *mine = NULL;
  char dir[600], text[64], expected[16];
  const char *words[3];
  int n = *(int *)number;
  snprintf(dir, sizeof dir, "%s/tree%d", scratch_dir, n);
  snprintf(text, sizeof text, "echo %d; exit %d", n, n), snprintf(expected, sizeof expected, "%d\n", n);
  treering_unpack_result unpacked;
  CHECK(treering_unpack(store, "bb:1", TREERING_PATH(dir), NULL, 0, NULL, &unpacked, sizeof unpacked, NULL, &mine)
        == TREERING_OK);
  for (int round = 0; round < 3; round++) {
    treering_process *process = NULL;
    treering_process_result result;
    struct output *output = fresh();
    treering_run_options options = script(words, text);
    CHECK(treering_tree_run(store, TREERING_PATH(dir), NULL, 0, &options, sizeof options, take, output, NULL, NULL,
                            &process, &mine)
          == TREERING_OK);
    CHECK(treering_process_wait(process, -1, &result, sizeof result, &mine) == TREERING_OK && result.exit_code == n);
    CHECK(strcmp(output->text[1], expected) == 0);
    treering_process_free(process);
    free(output);
  }
  return NULL;
}

static void handler(int signal) {
  (void)signal;
  static const char text[] = "SIGCHLD came\n";
  if (write(2, text, sizeof text - 1) < 0) _exit(3);
}

int main(void) {
  pthread_t threads[4];
  int numbers[4] = {0, 1, 2, 3};
  char before[64] = "", after[64] = "";
  struct sigaction action = {0}, now;
  treering_unpack_result unpacked;
  if (access("/usr/bin/busybox", X_OK) != 0) {
    printf("SKIP-TOOL busybox: /usr/bin/busybox is not there\n");
    return getenv("CI") == NULL ? 0 : 1;
  }
  scratch();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  image();
  OK(treering_unpack(store, "bb:1", TREERING_PATH(in_scratch("work")), NULL, 0, NULL, &unpacked, sizeof unpacked, NULL,
                     &err));
  action.sa_handler = handler;
  CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
  CHECK(readlink("/proc/self/ns/user", before, sizeof before - 1) > 0);
  ends(in_scratch("work"));
  size_t count = traces();
  in_a_tree(in_scratch("work"));
  ends(in_scratch("work"));
  containers();
  terminals(in_scratch("work"));
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, many, &numbers[i]) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(traces() == count);
  CHECK(sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == handler);
  CHECK(readlink("/proc/self/ns/user", after, sizeof after - 1) > 0 && strcmp(before, after) == 0);
  treering_store_free(store);
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
