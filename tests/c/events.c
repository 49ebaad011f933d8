/* Events: a queue that is polled or waited on, from any thread; and what errors have besides their texts. */
#include <pthread.h>

#include "common.h"

static treering_error *err;

static treering_event *next(treering_control *control, uint32_t wait, treering_event_data *out) {
  treering_event *event = (treering_event *)&err;
  OK(treering_control_next_event(control, wait, &event, out, sizeof *out, &err));
  return event;
}

static bool is(const char *text, const char *expected) {
  return expected == NULL ? text == NULL : text != NULL && strcmp(text, expected) == 0;
}

static void in_order(void) {
  treering_control *control = NULL;
  treering_event_data e;
  treering_event *event;
  OK(treering_control_new(&control, &err));
  CHECK(next(control, 0, &e) == NULL); /* there is no queue yet */
  OK(treering_test_events(control, &err));
  OK(treering_control_enable_events(control, 0, &err));
  CHECK(next(control, 0, &e) == NULL); /* what happened before is not in it */
  CHECK(next(control, 20, &e) == NULL);
  OK(treering_test_events(control, &err));

  CHECK((event = next(control, 0, &e)) != NULL && e.kind == TREERING_EVENT_STARTED);
  CHECK(e.step == 1 && e.place == 2 && e.places == 3 && is(e.stage, "build") && is(e.text, "RUN make"));
  CHECK(e.line == 3 && e.column == 5 && e.file_len == 10 && memcmp(e.file, "Dockerfile", 10) == 0);
  CHECK(is(e.line_text, "RUN make") && is(e.rule, NULL) && is(e.digest, NULL) && e.output == NULL);
  OK(treering_control_enable_events(control, 0, &err)); /* another queue: this event stays */
  CHECK(is(e.text, "RUN make") && treering_event_free(event) == TREERING_OK);
  CHECK(treering_event_free(event) == TREERING_INVALID_ARGUMENT && treering_event_free(NULL) == TREERING_OK);
  CHECK(next(control, 0, &e) == NULL);

  OK(treering_test_events(control, &err));
  treering_event_free(next(control, 0, &e));
  CHECK((event = next(control, 1000, &e)) != NULL && e.kind == TREERING_EVENT_OUTPUT && e.stream == 2);
  CHECK(e.output_len == 5 && memcmp(e.output, "caf\xe9\n", 5) == 0 && e.line == 0 && e.file == NULL);
  treering_event_free(event);
  treering_event_free(next(control, 0, &e));
  CHECK(e.kind == TREERING_EVENT_OUTPUT_DROPPED && e.bytes == 10);
  CHECK((event = next(control, 0, &e)) != NULL && e.kind == TREERING_EVENT_FAILED && is(e.text, "the command failed"));
  treering_event_free(event);
  CHECK((event = next(control, 0, &e)) != NULL && e.kind == TREERING_EVENT_TRANSFER && e.step == 2);
  CHECK(strlen(e.digest) == 71 && e.bytes == 5 && e.bytes_total == 50);
  treering_event_free(event);
  treering_event_free(next(control, 0, &e));
  CHECK(e.kind == TREERING_EVENT_CACHED);
  treering_event_free(next(control, 0, &e));
  CHECK(e.kind == TREERING_EVENT_FINISHED && e.milliseconds == 1500 && e.bytes == 20);
  CHECK((event = next(control, 0, &e)) != NULL && e.kind == TREERING_EVENT_WARNING && e.step == 0);
  CHECK(is(e.rule, "StageNameCasing") && e.line == 3);
  treering_event_free(event);
  CHECK(next(control, 0, &e) == NULL);

  FAILS(TREERING_INVALID_ARGUMENT, treering_control_next_event(NULL, 0, &event, &e, sizeof e, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_next_event(control, 0, NULL, &e, sizeof e, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_next_event(control, 0, &event, NULL, sizeof e, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_next_event(control, 0, &event, &e, 3, &err));
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_enable_events(NULL, 0, &err));
  /* Events that were not taken go with the control. */
  OK(treering_test_events(control, &err));
  CHECK(treering_control_free(control) == TREERING_OK);
}

/* A queue that is not read drops output, and transfers that go on: the next one says more. */
static void dropped(void) {
  treering_control *control = NULL;
  treering_event_data e;
  treering_event *event;
  int others = 0;
  uint64_t bytes = 0;
  OK(treering_control_new(&control, &err));
  OK(treering_control_enable_events(control, 1, &err));
  for (int i = 0; i < 100; i++) OK(treering_test_events(control, &err));
  while ((event = next(control, 0, &e)) != NULL) {
    CHECK(e.kind != TREERING_EVENT_OUTPUT && e.kind != TREERING_EVENT_TRANSFER);
    if (e.kind == TREERING_EVENT_OUTPUT_DROPPED) bytes += e.bytes;
    else others++;
    treering_event_free(event);
  }
  CHECK(others == 500 && bytes == 1000 + 500);
  treering_control_free(control);
}

struct log {
  int events, warnings, ended;
};

static void logs(void *userdata, const treering_event_data *event, size_t size) {
  struct log *log = userdata;
  CHECK(size == sizeof *event);
  log->events++;
  if (event->kind == TREERING_EVENT_WARNING) {
    CHECK(event->text != NULL && *event->text != 0);
    log->warnings++;
  }
}

static void logged(void *userdata) { ((struct log *)userdata)->ended++; }

/* A hook takes the place of the queue, and receives all that the queue would hold. */
static void hooked(void) {
  treering_control *control = NULL;
  treering_event_data e;
  struct log log = {0}, other = {0}, refused = {0};
  OK(treering_control_new(&control, &err));
  OK(treering_control_set_events(control, logs, &log, logged, &err));
  OK(treering_test_events(control, &err));
  CHECK(log.events == 8 && log.warnings == 1 && log.ended == 0);
  CHECK(next(control, 0, &e) == NULL);
  OK(treering_control_set_events(control, logs, &other, logged, &err));
  CHECK(log.ended == 1);
  OK(treering_control_set_events(control, NULL, &refused, logged, &err));
  CHECK(other.ended == 1 && refused.ended == 1);
  OK(treering_test_events(control, &err));
  CHECK(log.events == 8 && other.events == 0);
  FAILS(TREERING_INVALID_ARGUMENT, treering_control_set_events(NULL, logs, &refused, logged, &err));
  CHECK(refused.ended == 2);
  OK(treering_control_set_events(control, logs, &other, logged, &err));
  CHECK(treering_control_free(control) == TREERING_OK && other.ended == 2);
}

static void *sends(void *control) {
  treering_error *error = NULL;
  usleep(20000);
  CHECK(treering_test_events(control, &error) == TREERING_OK);
  return NULL;
}

static void waited_for(void) {
  treering_control *control = NULL;
  treering_event_data e;
  pthread_t thread;
  OK(treering_control_new(&control, &err));
  OK(treering_control_enable_events(control, 0, &err));
  pthread_create(&thread, NULL, sends, control);
  for (int i = 0; i < 8; i++) {
    treering_event *event = next(control, 60000, &e);
    CHECK(event != NULL && treering_event_free(event) == TREERING_OK);
  }
  pthread_join(thread, NULL);
  treering_control_free(control);
}

static void errors(void) {
  treering_location at = {0};
  CHECK(treering_test_error(&err) == TREERING_COMMAND_FAILED);
  CHECK(treering_error_exit_code(err) == 7 && treering_error_location(err, &at, sizeof at));
  CHECK(at.line == 3 && at.column == 5 && at.file_len == 10 && memcmp(at.file, "Dockerfile", 10) == 0);
  CHECK(is(at.text, "RUN make"));
  CHECK(treering_error_location(err, NULL, 0));
  struct {
    const uint8_t *file;
    size_t canary;
  } old = {NULL, 99};
  CHECK(treering_error_location(err, (treering_location *)&old, sizeof old.file) && old.canary == 99);
  CHECK(memcmp(old.file, "Dockerfile", 10) == 0);
  treering_error_free(err);
  err = NULL;
  CHECK(treering_test_panic(&err) == TREERING_INTERNAL);
  CHECK(treering_error_exit_code(err) == -1 && !treering_error_location(err, &at, sizeof at));
  treering_error_free(err);
  err = NULL;
  CHECK(treering_error_exit_code(NULL) == -1 && !treering_error_location(NULL, &at, sizeof at));
}

int main(void) {
  in_order();
  dropped();
  hooked();
  waited_for();
  errors();
  CHECK(treering_test_live_handles() == 0);
  return 0;
}
