/* Images to and from a registry, and the ways to authenticate. */
#include "registry.h"

#include <time.h>

static treering_error *err;
static treering_store *store;

static const char *named(const char *rest) {
  static char names[4][100];
  static int which;
  char *out = names[which++ % 4];
  snprintf(out, sizeof names[0], "%s/%s", registry_host, rest);
  return out;
}

static void moves(void) {
  treering_push_result pushed, copied;
  treering_pull_result pulled;
  treering_unpack_result unpacked;
  treering_store *other = NULL;
  treering_pull_options options = {0};
  treering_digest digest;
  treering_bytes *manifest = NULL, *type = NULL, *tags = NULL;
  OK(treering_registry_push(store, NULL, "app:v1", named("team/app:v1"), NULL, 0, NULL, &pushed, sizeof pushed, &err));
  CHECK(pushed.sent == 2 && pushed.bytes_sent > 0 && !pushed.only_platform);
  OK(treering_registry_tags(NULL, named("team/app"), NULL, &tags, &err));
  CHECK(strstr((const char *)treering_bytes_data(tags), "\"v1\"") != NULL);
  OK(treering_registry_manifest(NULL, named("team/app:v1"), NULL, &digest, &type, &manifest, &err));
  CHECK(strcmp(digest.text, pushed.digest.text) == 0 && treering_bytes_len(manifest) == pushed.size);
  CHECK(strstr((const char *)treering_bytes_data(type), "manifest") != NULL);
  treering_bytes_free(tags), treering_bytes_free(manifest), treering_bytes_free(type);

  OK(treering_store_open(TREERING_PATH(in_scratch("other")), NULL, 0, &other, &err));
  options.as_name = "mine:1";
  OK(treering_registry_pull(other, NULL, named("team/app:v1"), &options, sizeof options, NULL, &pulled, sizeof pulled,
                            &err));
  CHECK(strcmp(pulled.digest.text, pushed.digest.text) == 0 && pulled.layers_fetched == 1 && !pulled.up_to_date);
  OK(treering_registry_pull_unpack(other, NULL, named("team/app:v1"), TREERING_PATH(in_scratch("out")), NULL, 0, NULL,
                                   0, NULL, &pulled, sizeof pulled, &unpacked, sizeof unpacked, NULL, &err));
  CHECK(pulled.layers_fetched == 0 && unpacked.entries == 1);
  sh("[ \"$(cat '%s/f')\" = content ]", in_scratch("out"));
  FAILS(TREERING_NOT_FOUND,
        treering_registry_pull(other, NULL, named("team/app:none"), NULL, 0, NULL, &pulled, sizeof pulled, &err));
  OK(treering_registry_copy(NULL, named("team/app:v1"), named("copy/app"), NULL, NULL, &copied, sizeof copied, &err));
  CHECK(strcmp(copied.digest.text, pushed.digest.text) == 0);
  CHECK(treering_store_free(other) == TREERING_OK);

  treering_digest list, annotated;
  const char *images[] = {"app:v1"};
  const treering_pair annotation = {"k", "v"};
  OK(treering_registry_list_create(store, NULL, "all:1", images, 1, false, NULL, &list, &err));
  FAILS(TREERING_ALREADY_EXISTS,
        treering_registry_list_create(store, NULL, "all:1", images, 1, false, NULL, &list, &err));
  OK(treering_registry_list_annotate(store, "all:1", "app:v1", NULL, &annotation, 1, NULL, &annotated, &err));
  CHECK(strcmp(list.text, annotated.text) != 0);
  OK(treering_registry_push(store, NULL, "all:1", named("team/app:all"), NULL, 0, NULL, &pushed, sizeof pushed, &err));
  CHECK(strcmp(pushed.digest.text, annotated.text) == 0);
}

struct asked {
  int calls, finalized;
  treering_answer *last;
};

static int32_t ask(void *userdata, const char *registry, const char *repository, treering_answer *answer) {
  struct asked *asked = userdata;
  treering_error *error = NULL;
  CHECK(strcmp(registry, registry_host) == 0 && strcmp(repository, "team/app") == 0);
  asked->last = answer;
  if (++asked->calls == 1) return 9;
  if (asked->calls == 2) return 0;
  CHECK(treering_answer_token(answer, "no", false, &error) == TREERING_OK);
  CHECK(treering_answer_basic(answer, "user", NULL, &error) == TREERING_INVALID_ARGUMENT);
  treering_error_free(error);
  CHECK(treering_answer_basic(answer, "user", "secret", NULL) == TREERING_OK);
  return 0;
}

static void finalize(void *userdata) { ((struct asked *)userdata)->finalized++; }

static void credentials(void) {
  treering_registries *registries = NULL;
  treering_registries_options options = {0};
  treering_bytes *tags = NULL, *kept_in = NULL;
  struct asked asked = {0};
  bool was = false;
  guarded = true;
  FAILS(TREERING_UNAUTHORIZED, treering_registry_tags(NULL, named("team/app"), NULL, &tags, &err));
  FAILS(TREERING_UNAUTHORIZED, treering_registry_login(NULL, registry_host, "user", "wrong", NULL, &kept_in, &err));
  options.username = "user";
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_registries_new(&options, sizeof options, NULL, NULL, NULL, &registries, &err));
  options.password = "secret";
  FAILS(TREERING_INVALID_ARGUMENT,
        treering_registries_new(&options, sizeof options, ask, &asked, finalize, &registries, &err));
  CHECK(asked.finalized == 1);
  OK(treering_registries_new(&options, sizeof options, NULL, NULL, NULL, &registries, &err));
  OK(treering_registry_tags(registries, named("team/app"), NULL, &tags, &err));
  treering_bytes_free(tags);
  CHECK(treering_registries_free(registries) == TREERING_OK);

  OK(treering_registries_new(NULL, 0, ask, &asked, finalize, &registries, &err));
  CHECK(treering_registry_tags(registries, named("team/app"), NULL, &tags, &err) == TREERING_CALLBACK);
  CHECK(treering_error_callback_code(err) == 9 && treering_error_free(err) == TREERING_OK);
  err = NULL;
  FAILS(TREERING_UNAUTHORIZED, treering_registry_tags(registries, named("team/app"), NULL, &tags, &err));
  OK(treering_registry_tags(registries, named("team/app"), NULL, &tags, &err));
  treering_bytes_free(tags);
  CHECK(asked.calls == 3 && asked.finalized == 1);
  FAILS(TREERING_INVALID_ARGUMENT, treering_answer_basic(asked.last, "user", "late", &err));
  CHECK(treering_registries_free(registries) == TREERING_OK && asked.finalized == 2);

  OK(treering_registry_login(NULL, registry_host, "user", "secret", NULL, &kept_in, &err));
  CHECK(strcmp((const char *)treering_bytes_data(kept_in), in_scratch("auth.json")) == 0);
  treering_bytes_free(kept_in);
  OK(treering_registry_tags(NULL, named("team/app"), NULL, &tags, &err));
  treering_bytes_free(tags);
  OK(treering_registry_logout(NULL, registry_host, &was, &err));
  CHECK(was);
  OK(treering_registry_logout(NULL, registry_host, &was, &err));
  CHECK(!was);
  guarded = false;
}

static void *cancel_soon(void *control) {
  usleep(200000);
  CHECK(treering_control_cancel(control, NULL) == TREERING_OK);
  return NULL;
}

/* A wait for a registry that says nothing ends when the control is cancelled. */
static void waiting(void) {
  treering_control *control = NULL;
  treering_pull_result pulled;
  struct timespec began, ended;
  pthread_t thread;
  silent = true;
  OK(treering_control_new(&control, &err));
  CHECK(pthread_create(&thread, NULL, cancel_soon, control) == 0);
  clock_gettime(CLOCK_MONOTONIC, &began);
  FAILS(TREERING_CANCELLED,
        treering_registry_pull(store, NULL, named("team/app:v1"), NULL, 0, control, &pulled, sizeof pulled, &err));
  clock_gettime(CLOCK_MONOTONIC, &ended);
  CHECK(ended.tv_sec - began.tv_sec < 3);
  pthread_join(thread, NULL);
  treering_control_free(control);
  silent = false;
}

int main(void) {
  treering_commit_result made;
  scratch();
  pthread_t thread = registry_start();
  OK(treering_store_open(TREERING_PATH(in_scratch("store")), NULL, 0, &store, &err));
  sh("mkdir '%s' && printf content >'%s/f'", in_scratch("tree"), in_scratch("tree"));
  OK(treering_commit(store, TREERING_PATH(in_scratch("tree")), "app:v1", NULL, 0, NULL, &made, sizeof made, NULL,
                     &err));
  moves();
  credentials();
  waiting();
  CHECK(treering_store_free(store) == TREERING_OK);
  CHECK(treering_test_live_handles() == 0);
  registry_end(thread);
  return 0;
}
