/* A small registry on a thread of its own: it keeps what is pushed in memory, asks for a password or says nothing when
 * it is set to. */
#ifndef TREERING_TESTS_REGISTRY_H
#define TREERING_TESTS_REGISTRY_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "common.h"

/* "user:secret" in base64. */
#define EXPECTED "Basic dXNlcjpzZWNyZXQ="

static struct kept {
  char path[200], type[100];
  char *body;
  size_t len;
} kept[64];
static size_t kept_len;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool guarded, silent;
static int listener;
static char registry_host[32];

static void keep(const char *path, const char *type, const char *body, size_t len) {
  struct kept *one = &kept[kept_len];
  CHECK(kept_len < 64);
  snprintf(one->path, sizeof one->path, "%s", path);
  snprintf(one->type, sizeof one->type, "%s", type);
  one->body = malloc(len + 1);
  CHECK(one->body != NULL);
  memcpy(one->body, body, len);
  one->len = len;
  kept_len++;
}

static int answer(int fd, int status, const char *headers, const char *body, size_t len, bool head) {
  char text[600];
  int n = snprintf(text, sizeof text, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status,
                   len, headers);
  if (send(fd, text, (size_t)n, MSG_NOSIGNAL) == n && len > 0 && !head) (void)!send(fd, body, len, MSG_NOSIGNAL);
  return 0;
}

/* A header of a request; empty where it is not there. */
static const char *header(const char *request, const char *name, char *out, size_t size) {
  const char *at = strcasestr(request, name);
  out[0] = 0;
  if (at != NULL) snprintf(out, size, "%.*s", (int)strcspn(at + strlen(name), "\r"), at + strlen(name));
  return out;
}

static int serve(int fd) {
  static char request[1 << 16];
  char method[8], path[200], value[200], other[300];
  size_t len = 0, body = 0, want = 0;
  for (;;) {
    ssize_t n = recv(fd, request + len, sizeof request - 1 - len, 0);
    if (n <= 0) return 0;
    len += (size_t)n;
    request[len] = 0;
    char *end = strstr(request, "\r\n\r\n");
    if (end == NULL) continue;
    body = (size_t)(end - request) + 4;
    want = (size_t)atoi(header(request, "\r\ncontent-length: ", value, sizeof value));
    CHECK(body + want < sizeof request);
    if (len >= body + want) break;
  }
  if (sscanf(request, "%7s %199s", method, path) != 2) return 0;
  bool head = strcmp(method, "HEAD") == 0;
  while (silent) usleep(20000);
  if (guarded && strcmp(header(request, "\r\nauthorization: ", value, sizeof value), EXPECTED) != 0)
    return answer(fd, 401, "WWW-Authenticate: Basic realm=\"test\"\r\n", "", 0, head);
  header(request, "\r\ncontent-type: ", value, sizeof value);
  char *query = strchr(path, '?'), *upload = strstr(path, "/uploads/");
  if (strcmp(path, "/v2/") == 0) return answer(fd, 200, "", "{}", 2, head);
  if (strstr(path, "/tags/list") != NULL) return answer(fd, 200, "", "{\"tags\":[\"v1\",\"v2\"]}", 20, head);
  if (upload != NULL && strcmp(method, "POST") == 0) {
    snprintf(other, sizeof other, "Location: %.*s/uploads/one\r\n", (int)(upload - path), path);
    return answer(fd, 202, other, "", 0, head);
  }
  if (upload != NULL && strcmp(method, "PUT") == 0 && query != NULL) {
    /* digest=sha256:... or digest=sha256%3A... */
    const char *hex = strstr(query, "sha256") + 6;
    snprintf(other, sizeof other, "%.*s/sha256:%s", (int)(upload - path), path, hex + (*hex == '%' ? 3 : 1));
    keep(other, "application/octet-stream", request + body, want);
    return answer(fd, 201, "", "", 0, head);
  }
  if (strcmp(method, "PUT") == 0) {
    keep(path, value, request + body, want);
    return answer(fd, 201, "", "", 0, head);
  }
  for (size_t i = kept_len; i > 0; i--)
    if (strcmp(kept[i - 1].path, path) == 0) {
      snprintf(other, sizeof other, "Content-Type: %s\r\n", kept[i - 1].type);
      return answer(fd, 200, other, kept[i - 1].body, kept[i - 1].len, head);
    }
  return answer(fd, 404, "", "", 0, head);
}

static void *serve_one(void *fd) {
  pthread_mutex_lock(&kept_lock);
  serve((int)(intptr_t)fd);
  pthread_mutex_unlock(&kept_lock);
  close((int)(intptr_t)fd);
  return NULL;
}

static void *serve_all(void *unused) {
  int fd;
  while ((fd = accept(listener, NULL, NULL)) >= 0) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) == 0 && pthread_detach(thread) == 0);
  }
  return unused;
}

/* Starts the registry, and has the environment of the library say where it is. */
static pthread_t registry_start(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  pthread_t thread;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(bind(listener, (struct sockaddr *)&address, len) == 0 && listen(listener, 16) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
  snprintf(registry_host, sizeof registry_host, "127.0.0.1:%d", ntohs(address.sin_port));
  FILE *file = fopen(in_scratch("registries.toml"), "w");
  CHECK(file != NULL);
  fprintf(file, "[[registry]]\nprefix = \"%s\"\nlocation = \"http://%s\"\n", registry_host, registry_host);
  CHECK(fclose(file) == 0 && setenv("TREERING_REGISTRIES", in_scratch("registries.toml"), 1) == 0);
  CHECK(setenv("REGISTRY_AUTH_FILE", in_scratch("auth.json"), 1) == 0);
  CHECK(pthread_create(&thread, NULL, serve_all, NULL) == 0);
  return thread;
}

static void registry_end(pthread_t thread) {
  shutdown(listener, SHUT_RDWR);
  pthread_join(thread, NULL);
  close(listener);
  /* An answer that is still on its way is out of it. */
  pthread_mutex_lock(&kept_lock);
  while (kept_len > 0) free(kept[--kept_len].body);
  pthread_mutex_unlock(&kept_lock);
}

#endif
