/* The result of a step of the parity table: said line by line, and compared with what the table has. */
#ifndef TREERING_TESTS_PARITY_H
#define TREERING_TESTS_PARITY_H

#include "json.h"

static treering_error *err;
static treering_control *control;
static const struct json *step;

/* A result: one `NAME=VALUE` per line; lists have their elements one after the other, under `NAME[]`. */
static char result[16384];

static void say(const char *name, const char *format, ...) {
  size_t at = strlen(result);
  va_list list;
  at += (size_t)snprintf(result + at, sizeof result - at, "%s=", name);
  va_start(list, format);
  at += (size_t)vsnprintf(result + at, sizeof result - at, format, list);
  va_end(list);
  CHECK(at + 2 < sizeof result);
  strcpy(result + at, "\n");
}

static void say_number(const char *name, uint64_t number) { say(name, "%llu", (unsigned long long)number); }

/* A path as the table writes it. */
static const char *escaped(const uint8_t *bytes, size_t len) {
  static char texts[2][1024];
  static int which;
  char *text = texts[which++ % 2];
  text[0] = 0;
  for (size_t i = 0; i < len; i++) {
    snprintf(text + strlen(text), 5, bytes[i] > 0x20 && bytes[i] < 0x7f ? "%c" : "\\x%02x", bytes[i]);
  }
  return text;
}

static void unescape(char *text) {
  char *to = text;
  for (; *text; text++) {
    unsigned byte;
    if (text[0] == '\\' && text[1] == 'x' && sscanf(text + 2, "%2x", &byte) == 1) {
      *to++ = (char)byte;
      text += 3;
    } else {
      *to++ = *text;
    }
  }
  *to = 0;
}

/* Whether a line is in the result; from `*from` on for lists, of which the order counts. */
static bool has(const char *name, const char *suffix, const char *value, size_t *from) {
  char line[2048], *found;
  size_t len = (size_t)snprintf(line, sizeof line, "%s%s=%s\n", name, suffix, value);
  for (found = result + *from; (found = strstr(found, line)) != NULL; found++) {
    if (found == result || found[-1] == '\n') {
      *from = (size_t)(found - result) + len;
      return true;
    }
  }
  return false;
}

static size_t count(const char *name) {
  size_t n = 0;
  for (char *at = result; (at = strstr(at, name)) != NULL; at++) n += at == result || at[-1] == '\n';
  return n;
}

/* Whether the result is what the table says; prints what is not. */
static bool compare(void) {
  bool same = true;
  for (struct json *member = json_get(step, "expect")->first; member != NULL; member = member->next) {
    size_t from = 0;
    bool good = true;
    if (member->type == 'l') {
      char name[64];
      size_t len = 0;
      for (struct json *one = member->first; one != NULL; one = one->next, len++)
        good = good && has(member->name, "[]", one->text, &from);
      snprintf(name, sizeof name, "%s[]=", member->name);
      good = good && count(name) == len;
    } else {
      good = has(member->name, "", member->text, &from);
    }
    if (!good) fprintf(stderr, "%s of %s is not as expected; got:\n%s", member->name, json_text(step, "op"), result);
    same = same && good;
  }
  return same;
}

#endif
