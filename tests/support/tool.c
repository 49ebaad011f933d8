// Calls that no applet of busybox makes: a static program for trees of the tests.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  return 1;
}

static int names(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

// Prints what a directory says of the types of its entries, by either form of the call.
static int types(const char *path, int old) {
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return fail("open");
  char *lines[256], bytes[512];
  int count = 0;
  for (;;) {
    // A small buffer: several calls, each of which must go on where the last one ended.
#ifdef SYS_getdents
    long n = syscall(old ? SYS_getdents : SYS_getdents64, fd, bytes, sizeof bytes);
#else
    long n = syscall(SYS_getdents64, fd, bytes, sizeof bytes);
    old = 0;
#endif
    if (n < 0) return fail("getdents");
    if (n == 0) break;
    for (long at = 0; at < n;) {
      unsigned short length;
      memcpy(&length, bytes + at + 16, 2);
      const char *name = bytes + at + (old ? 18 : 19);
      int type = old ? bytes[at + length - 1] : bytes[at + 18];
      if (name[0] != '.' && count < 256) asprintf(&lines[count++], "%s %d", name, type);
      at += length;
    }
  }
  qsort(lines, count, sizeof *lines, names);
  for (int i = 0; i < count; i++) puts(lines[i]);
  return 0;
}

// A connection by another user: the credentials that its other end gets.
static int peer(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1)) return fail("bind");
  if (chmod("sock", 0777)) return fail("chmod");
  pid_t child = fork();
  if (child == 0) {
    if (setgroups(0, 0) || setgid(77) || setuid(66)) _exit(fail("become user"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(s, (void *)&address, sizeof address)) _exit(fail("connect"));
    char c;
    read(s, &c, 1);
    _exit(0);
  }
  int s = accept(listener, 0, 0);
  struct ucred who;
  socklen_t size = sizeof who;
  if (s < 0 || getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &size)) return fail("getsockopt");
  printf("%d %d %d\n", who.uid, who.gid, who.pid == child);
  close(s);
  waitpid(child, 0, 0);
  return unlink("sock");
}

static volatile int stop;
static void ignore(int signal) { (void)signal; }

static void *change(void *argument) {
  long n = (long)argument;
  char name[32];
  for (int i = 0; i < 400; i++) {
    snprintf(name, sizeof name, "t%ld-%d", n, i);
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    struct stat st;
    if (fd < 0 || fchown(fd, 100 * n + i % 7, n) || stat(name, &st)) return (void *)1L;
    if (st.st_uid != 100 * n + i % 7 || st.st_gid != n) return (void *)2L;
    close(fd);
    if (mkdir("same", 0755) == 0) rmdir("same");
    if (i % 3 == 0 && unlink(name)) return (void *)3L;
  }
  return 0;
}

// Eight threads at once, while signals that mean nothing rain on them.
static int threads(void) {
  struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  sigaction(SIGURG, &action, 0);
  pthread_t all[8];
  for (long n = 0; n < 8; n++) pthread_create(&all[n], 0, change, (void *)(n + 1));
  pid_t storm = fork();
  if (storm == 0) {
    for (;;) {
      kill(getppid(), SIGURG);
      usleep(100);
    }
  }
  long bad = 0;
  for (int n = 0; n < 8; n++) {
    void *result;
    pthread_join(all[n], &result);
    bad |= (long)result;
  }
  kill(storm, SIGKILL);
  waitpid(storm, 0, 0);
  printf("%ld\n", bad);
  return bad != 0;
}

// Inodes of removed files, used again.
static int recycle(int count) {
  int bad = 0;
  for (int i = 0; i < count; i++) {
    struct stat st;
    int fd = open("r", O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || fchown(fd, 33, 33)) return fail("make");
    close(fd);
    if (unlink("r")) return fail("remove");
    fd = open("r", O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || fstat(fd, &st)) return fail("make again");
    bad += st.st_uid != 0 || st.st_gid != 0;
    close(fd);
    if (unlink("r")) return fail("remove");
  }
  printf("%d\n", bad);
  return bad != 0;
}

// Everything that reaches a file by one path. Says what worked.
static int attempt(const char *path) {
  int bad = 0;
  struct stat st;
  char text[8];
  struct {
    const char *what;
    int worked;
  } tries[] = {
      {"read", open(path, O_RDONLY) >= 0},
      {"write", open(path, O_WRONLY | O_APPEND) >= 0},
      {"name", open(path, O_PATH) >= 0},
      {"stat", stat(path, &st) == 0},
      {"lstat", lstat(path, &st) == 0},
      {"access", access(path, F_OK) == 0},
      {"truncate", truncate(path, 0) == 0},
      {"chmod", chmod(path, 0777) == 0},
      {"link", link(path, "/stolen") == 0},
      {"rename", rename(path, "/stolen") == 0},
      {"attribute", getxattr(path, "user.x", text, sizeof text) >= 0},
      {"unlink", unlink(path) == 0},
  };
  for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
    if (tries[i].worked) bad++, printf("%s %s\n", tries[i].what, path);
  pid_t child = fork();
  if (child == 0) {
    execl(path, path, (char *)0);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  if (status) bad++, printf("execute %s\n", path);
  return bad;
}

static const char *directory_of_canary;

static void *swap(void *unused) {
  (void)unused;
  while (!stop) {
    unlink("/race/way");
    symlink("/race/inside", "/race/way");
    rename("/race/way", "/race/other");
    symlink(directory_of_canary, "/race/way");
    rename("/race/way", "/race/other");
    mkdir("/race/way", 0755);
    rmdir("/race/way");
    symlink("../../../../../../../../../../..", "/race/up");
    rename("/race/up", "/race/other");
  }
  return 0;
}

// Ways out of a root, and a race that swaps what a path leads through.
static int escape(const char *canary, int rounds) {
  char path[8192], up[128] = "";
  int bad = 0;
  for (int i = 0; i < 30; i++) strcat(up, "../");
  const char *fronts[] = {"",
                          up,
                          "/proc/self/root",
                          "/proc/self/cwd/../../../..",
                          "/proc/1/root",
                          "/proc/thread-self/root",
                          "/link",
                          "/link/link",
                          "/proc/self/fd/9/../..",
                          "/dev/fd/9/../../..",
                          "/upward",
                          "/proc/self/task/1/root"};
  mkdir("/deep", 0755);
  symlink("/", "/link");
  symlink("../../../../../../../../..", "/upward");
  dup2(open("/deep", O_RDONLY | O_DIRECTORY), 9);
  for (size_t i = 0; i < sizeof fronts / sizeof *fronts; i++) {
    snprintf(path, sizeof path, "%s%s", fronts[i], canary);
    bad += attempt(path);
    char link[32];
    snprintf(link, sizeof link, "/way%zu", i);
    symlink(path, link);
    struct stat st;
    if (stat(link, &st) == 0) bad++, printf("follow %s\n", path);
    unlink(link);
  }
  snprintf(path, sizeof path, "/proc/%d/root%s", getppid(), canary);
  bad += attempt(path);
  // From a directory that was moved away from under its descriptor.
  mkdir("/deep/er", 0755);
  int fd = open("/deep/er", O_RDONLY | O_DIRECTORY);
  rename("/deep/er", "/moved");
  snprintf(path, sizeof path, "%s%s", up, canary + 1);
  if (openat(fd, path, O_RDONLY) >= 0) bad++, puts("moved");
  rmdir("/moved");
  if (openat(fd, path, O_RDONLY) >= 0) bad++, puts("removed");
  if (fchdir(fd) == 0 && open(path, O_RDONLY) >= 0) bad++, puts("removed and entered");
  chdir("/");
  // A root in a root, left again.
  if (chroot("/deep") == 0) {
    if (open(path, O_RDONLY) >= 0) bad++, puts("left root");
    chroot(".");
  }
  printf("%d\n", bad);
  fflush(stdout);
  if (fork() == 0) {
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", canary);
    *strrchr(directory, '/') = 0;
    directory_of_canary = directory;
    const char *name = strrchr(canary, '/');
    mkdir("/race", 0755);
    mkdir("/race/inside", 0755);
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    bad = 0;
    const char *fronts[] = {"/race/way", "/race/other"};
    for (int i = 0; i < rounds; i++) {
      snprintf(path, sizeof path, "%s%s", fronts[i % 2], i % 5 == 4 ? canary : name);
      int fd = open(path, i % 3 ? O_RDONLY : O_WRONLY | O_TRUNC);
      if (fd >= 0) bad++, close(fd);
      if (i % 7 == 0 && chmod(path, 0600) == 0) bad++;
      if (i % 11 == 0 && unlink(path) == 0) bad++;
    }
    stop = 1;
    pthread_join(thread, 0);
    printf("%d\n", bad);
    fflush(stdout);
    _exit(0);
  }
  wait(0);
  return 0;
}

// Gives a descriptor of the root to a process that has another one, which opens with it; prints whether that leads to
// the file.
static int pass(const char *canary) {
  int ends[2];
  char space[CMSG_SPACE(sizeof(int))] = {0}, byte = 'x', path[8192];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  mkdir("/jail", 0755);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return fail("socketpair");
  if (!fork()) {
    int fd = open("/", O_RDONLY | O_DIRECTORY);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    _exit(sendmsg(ends[0], &message, 0) != 1);
  }
  close(ends[0]);
  if (recvmsg(ends[1], &message, 0) != 1) return fail("recvmsg");
  int fd = -1;
  if (CMSG_FIRSTHDR(&message)) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  for (int turn = 0; turn < 2; turn++) {
    // Some ways have no chroot(2) for a command; the second turn is then the first once more.
    if (turn && chroot("/jail") == 0) fchdir(fd);
    for (int up = 0; up < 40; up++) {
      path[0] = 0;
      for (int i = 0; i < up; i++) strcat(path, "../");
      strcat(path, canary + 1);
      int found = openat(fd, path, O_RDONLY);
      if (found < 0) found = open(path, O_RDONLY);
      if (found >= 0) return puts("out") < 0;
    }
  }
  wait(0);
  return puts("in") < 0;
}

// Writes to memory through /proc: to its own, and to that of every process there is but its own.
static int memory(void) {
  static volatile char mine[8] = "before";
  char path[64];
  int fd = open("/proc/self/mem", O_RDWR);
  if (fd >= 0) pwrite(fd, "after", 6, (off_t)(size_t)mine), close(fd);
  int others = 0;
  DIR *all = opendir("/proc");
  for (struct dirent *entry; all && (entry = readdir(all));) {
    int pid = atoi(entry->d_name);
    if (!pid || pid == getpid()) continue;
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    if ((fd = open(path, O_RDWR)) < 0) continue;
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    char name[64] = "";
    int comm = open(path, O_RDONLY);
    if (comm >= 0) read(comm, name, sizeof name - 1), close(comm);
    others += !strncmp(name, "treering", 8);
    close(fd);
  }
  return printf("%d\n", others) < 0;
}

// Executes a program with a filter: a call is refused with an error, or, for call -1, the listener of filters is taken.
static int filtered(int call, int error, char **program) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {4, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return fail("prctl");
  int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, call < 0 ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &filter);
  if (fd < 0) return fail("seccomp");
  // Open as long as the program runs.
  if (call < 0) fcntl(fd, F_SETFD, 0);
  execv(program[0], program);
  return fail("exec");
}

// A child that is stopped, continued and ended, as its parent sees it.
static int stopped(void) {
  int status, seen = 0;
  pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  kill(child, SIGSTOP);
  if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
    return fail("stop");
  kill(child, SIGCONT);
  if (waitpid(child, &status, WCONTINUED) != child || !WIFCONTINUED(status)) return fail("continue");
  kill(child, SIGTERM);
  if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) return fail("end");
  printf("%d\n", WTERMSIG(status));
  return 0;
}

static void *become(void *name) {
  char *words[] = {"echo", "executed by a thread", 0};
  execv(name, words);
  return 0;
}
static void *wait_for_ever(void *none) {
  for (;;) pause();
}

// A thread that is not the first executes a program: all others end.
static int execute(void) {
  pthread_t one, other;
  pthread_create(&other, 0, wait_for_ever, 0);
  pthread_create(&one, 0, become, "/bin/echo");
  pthread_join(one, 0);
  return fail("execute");
}

static volatile sig_atomic_t rang;
static void ring(int signal) { rang++; }

// New files get the lowest number, whatever else the process has; signals in between interrupt nothing and stay as they
// are.
static int descriptors(void) {
  close(0);
  int fd = open("a", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
  if (fd != 0 || fcntl(0, F_GETFD) != FD_CLOEXEC) return fail("lowest");
  int next = open("b", O_CREAT | O_EXCL | O_RDWR, 0640);
  if (next != 3 || fcntl(3, F_GETFD) != 0) return fail("next");
  // All that is not a stream is closed, as daemons do it.
  if (syscall(SYS_close_range, 3u, ~0u, 0)) return fail("close_range");
  fd = open("c", O_CREAT | O_EXCL | O_RDWR, 0640);
  if (fd != 3) return fail("after all were closed");
  // Another file in the place of everything.
  for (int n = 4; n < 1024; n++) dup2(3, n);
  syscall(SYS_close_range, 4u, 900u, 0);
  if (open("d", O_CREAT | O_EXCL | O_RDWR, 0640) != 4) return fail("with many");
  syscall(SYS_close_range, 4u, ~0u, 0);
  struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, 0);
  struct itimerval often = {{0, 300}, {0, 300}};
  setitimer(ITIMER_REAL, &often, 0);
  for (int n = 0; n < 500; n++) {
    pid_t child = n % 50 ? 1 : fork();
    fd = open("e", O_CREAT | O_EXCL | O_RDWR, 0640);
    if (child == 0) _exit(0);
    if (child != 1) {
      if (fd >= 0) close(fd);
      waitpid(child, 0, 0);
      unlink("e");
      continue;
    }
    if (fd != 4) return fail("under signals");
    close(fd);
    if (unlink("e")) return fail("unlink");
  }
  memset(&often, 0, sizeof often);
  setitimer(ITIMER_REAL, &often, 0);
  sigset_t now;
  sigprocmask(SIG_SETMASK, 0, &now);
  for (int n = 1; n < 65; n++)
    if (sigismember(&now, n) == 1) return printf("%d is blocked\n", n);
  // No room for another one.
  struct rlimit few = {40, 40};
  setrlimit(RLIMIT_NOFILE, &few);
  int count = 0;
  char name[16];
  do snprintf(name, sizeof name, "n%d", count++);
  while (count < 100 && open(name, O_CREAT | O_EXCL | O_RDWR, 0640) >= 0);
  printf("%d %d\n", rang > 0, errno == EMFILE);
  return 0;
}

// Makes names by every call that does, whenever a line that begins with m comes, and says what each call gave and
// whether its name is there, whenever another one comes. With `full` there is no room for another descriptor.
static int makes(int full) {
  static const char *calls[] = {"new",     "new 0400", "open",    "open 0400", "creat",  "openat2",
                                "unnamed", "mkdir",    "symlink", "mknod",     "mkfifo", "bind"};
  enum { COUNT = sizeof calls / sizeof *calls };
  int errors[COUNT] = {0};
  char line[64];
  syscall(SYS_close_range, 3u, ~0u, 0);
  if (socket(AF_UNIX, SOCK_STREAM, 0) != 3) return fail("socket");
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = full ? 4 : 64;
  if (setrlimit(RLIMIT_NOFILE, &limit)) return fail("limit");
  while (fgets(line, sizeof line, stdin)) {
    for (int n = 0; n < COUNT; n++) {
      const char *name = calls[n];
      if (*line != 'm') {
        struct stat stat;
        int there = lstat(name, &stat) == 0;
        printf("%s: %s%s\n", name, strerror(errors[n]),
               there && errors[n] ? ", and left its name"
               : there            ? ", there"
                                  : "");
        if (there && (S_ISDIR(stat.st_mode) ? rmdir(name) : unlink(name))) return fail("remove");
        continue;
      }
      struct sockaddr_un address = {AF_UNIX};
      strcpy(address.sun_path, name);
      unsigned long long how[3] = {O_CREAT | O_EXCL | O_WRONLY, 02640, 0};
      long result = -1;
      switch (n) {
      case 0:
        result = open(name, O_CREAT | O_EXCL | O_RDWR, 0640);
        break;
      case 1:
        result = open(name, O_CREAT | O_EXCL | O_RDWR, 0400);
        break;
      case 2:
        result = open(name, O_CREAT | O_RDWR, 0640);
        break;
      case 3:
        result = open(name, O_CREAT | O_RDWR, 0400);
        break;
      case 4:
        result = creat(name, 0400);
        break;
      case 5:
        result = syscall(437, AT_FDCWD, name, how, sizeof how);
        break;
      case 6:
        result = open(".", O_TMPFILE | O_RDWR, 0400);
        break;
      case 7:
        result = mkdir(name, 0500);
        break;
      case 8:
        result = symlink("target", name);
        break;
      case 9:
        result = mknod(name, S_IFREG | 0400, 0);
        break;
      case 10:
        result = mkfifo(name, 0400);
        break;
      case 11:
        result = bind(3, (struct sockaddr *)&address, sizeof address);
        break;
      }
      errors[n] = result < 0 ? errno : 0;
      if (result > 3) close(result);
      if (n == 11) close(3), socket(AF_UNIX, SOCK_STREAM, 0);
    }
    puts("done");
    fflush(stdout);
  }
  return 0;
}

// A call by another ABI.
static int foreign(void) {
#ifdef __x86_64__
  long number = 20;
  __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
#endif
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (!strcmp(what, "types")) return types(argv[2], 0);
  if (!strcmp(what, "stop")) return stopped();
  if (!strcmp(what, "exec-thread")) return execute();
  if (!strcmp(what, "descriptors")) return descriptors();
  if (!strcmp(what, "makes")) return makes(argc > 2);
  if (!strcmp(what, "foreign")) return foreign();
  if (!strcmp(what, "old-types")) return types(argv[2], 1);
  if (!strcmp(what, "peer")) return peer();
  if (!strcmp(what, "escape")) return escape(argv[2], atoi(argv[3]));
  if (!strcmp(what, "filtered")) return filtered(atoi(argv[2]), atoi(argv[3]), argv + 4);
  if (!strcmp(what, "pass")) return pass(argv[2]);
  if (!strcmp(what, "memory")) return memory();
  if (!strcmp(what, "threads")) return threads();
  if (!strcmp(what, "recycle")) return recycle(atoi(argv[2]));
  if (!strcmp(what, "set")) return setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0) ? fail("set") : 0;
  // An ACL of a user beside the owner, the group and the others: struct posix_acl_xattr_header, then entries.
  if (!strcmp(what, "acl")) {
    struct {
      unsigned version;
      struct {
        unsigned short tag, perm;
        unsigned id;
      } entries[5];
    } acl = {2, {{1, 7, -1}, {2, 7, 1234}, {4, 5, -1}, {16, 7, -1}, {32, 5, -1}}};
    return setxattr(argv[2], argv[3], &acl, sizeof acl, 0) ? fail("acl") : 0;
  }
  // CAP_NET_RAW, permitted and effective: struct vfs_cap_data of revision 2.
  if (!strcmp(what, "capability")) {
    unsigned value[5] = {0x02000001, 1 << 13};
    return setxattr(argv[2], "security.capability", value, sizeof value, 0) ? fail("capability") : 0;
  }
  if (!strcmp(what, "hex")) {
    unsigned char value[256];
    ssize_t n = getxattr(argv[2], argv[3], value, sizeof value);
    if (n < 0) return fail("hex");
    for (ssize_t at = 0; at < n; at++) printf("%02x", value[at]);
    puts("");
    return 0;
  }
  if (!strcmp(what, "ring")) return printf("%s\n", syscall(425, 8, 0) < 0 ? strerror(errno) : "a ring") < 0;
  if (!strcmp(what, "get")) {
    char value[256];
    ssize_t n = getxattr(argv[2], argv[3], value, sizeof value);
    if (n < 0) return fail("get");
    printf("%.*s\n", (int)n, value);
    return 0;
  }
  if (!strcmp(what, "list")) {
    char list[1024];
    ssize_t n = listxattr(argv[2], list, sizeof list);
    if (n < 0) return fail("list");
    for (ssize_t at = 0; at < n; at += strlen(list + at) + 1) puts(list + at);
    return 0;
  }
  // Takes every limit away that can be.
  if (!strcmp(what, "unlimit")) {
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    for (int limit = 0; limit < RLIM_NLIMITS; limit++) {
      setrlimit(limit, &none);
      syscall(SYS_prlimit64, 0, limit, &none, 0);
#ifdef SYS_setrlimit
      syscall(SYS_setrlimit, limit, &none);
#endif
    }
    return 0;
  }
  if (!strcmp(what, "trace")) return puts(ptrace(PTRACE_SEIZE, atoi(argv[2]), 0, 0) ? "refused" : "traced") < 0;
  if (!strcmp(what, "remove")) return removexattr(argv[2], argv[3]) ? fail("remove") : 0;
  if (!strcmp(what, "as")) {
    if (setgroups(0, 0) || setgid(atoi(argv[3])) || setuid(atoi(argv[2]))) return fail("become user");
    execv(argv[4], argv + 4);
    return fail("exec");
  }
  return 2;
}
