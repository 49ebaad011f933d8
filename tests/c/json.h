/* Just enough JSON to read the parity table: every value is a node, children are a list. Ends the program on bad input.
 */
#ifndef TREERING_TESTS_JSON_H
#define TREERING_TESTS_JSON_H

#include "common.h"

struct json {
  char type;         /* s string, n number, b true or false, 0 null, l list, o object */
  char *name;        /* the member's name in an object */
  char *text;        /* of a string, or a number as it stands there */
  struct json *next; /* in the list or object it is in */
  struct json *first;
};

static const char *json_at;

static void json_space(void) { json_at += strspn(json_at, " \t\r\n"); }

static void json_take(char c) {
  json_space();
  CHECK(*json_at == c);
  json_at++;
}

static char *json_string(void) {
  json_take('"');
  char *out = malloc(strlen(json_at) < 4096 ? strlen(json_at) + 1 : 4096), *to = out;
  CHECK(out != NULL);
  while (*json_at != '"') {
    CHECK(*json_at != 0 && to < out + 4000);
    if (*json_at == '\\') {
      json_at++;
      switch (*json_at) {
      case 'n':
        *to++ = '\n';
        break;
      case 't':
        *to++ = '\t';
        break;
      default:
        CHECK(*json_at == '\\' || *json_at == '"' || *json_at == '/');
        *to++ = *json_at;
      }
      json_at++;
    } else {
      *to++ = *json_at++;
    }
  }
  json_at++;
  *to = 0;
  char *exact = strdup(out);
  free(out);
  CHECK(exact != NULL);
  return exact;
}

static struct json *json_value(void) {
  struct json *value = calloc(1, sizeof *value), **end;
  CHECK(value != NULL);
  json_space();
  switch (*json_at) {
  case '{':
  case '[': {
    char close = *json_at == '{' ? '}' : ']';
    value->type = *json_at == '{' ? 'o' : 'l';
    end = &value->first;
    json_at++;
    for (json_space(); *json_at != close; json_space()) {
      char *name = NULL;
      if (value->first != NULL) json_take(',');
      if (value->type == 'o') {
        json_space();
        name = json_string();
        json_take(':');
      }
      *end = json_value();
      (*end)->name = name;
      end = &(*end)->next;
    }
    json_at++;
    break;
  }
  case '"':
    value->type = 's';
    value->text = json_string();
    break;
  default: {
    size_t len = strspn(json_at, "-+.0123456789eEtrufalsn");
    CHECK(len > 0);
    value->type = *json_at == 't' || *json_at == 'f' ? 'b' : *json_at == 'n' ? 0 : 'n';
    value->text = strndup(json_at, len);
    json_at += len;
  }
  }
  return value;
}

static struct json *json_parse(const char *text) {
  json_at = text;
  return json_value();
}

static void json_free(struct json *value) {
  while (value != NULL) {
    struct json *next = value->next;
    json_free(value->first);
    free(value->name);
    free(value->text);
    free(value);
    value = next;
  }
}

/* A member of an object, or NULL. */
static struct json *json_get(const struct json *object, const char *name) {
  for (struct json *member = object ? object->first : NULL; member != NULL; member = member->next) {
    if (member->name != NULL && strcmp(member->name, name) == 0) return member;
  }
  return NULL;
}

/* The text of a member, or NULL. */
static const char *json_text(const struct json *object, const char *name) {
  struct json *member = json_get(object, name);
  return member ? member->text : NULL;
}

#endif
