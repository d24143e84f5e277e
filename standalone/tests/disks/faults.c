/* Disk faults for the process that this is preloaded into (LD_PRELOAD).
 *
 * The environment variable DISK_FAULT names a control file. While it is there, its one line
 *     ERRNO ONE_IN PATTERN
 * makes one in ONE_IN calls that write, truncate, sync or open for writing a file whose path has PATTERN in it fail with
 * ERRNO. Files without PATTERN in their path, and calls that only read, are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_uint calls;

/* Whether a call on PATH is to fail; sets errno then. */
static int fails_on_path(const char *path) {
    const char *control = getenv("DISK_FAULT");
    char line[512];
    int before = errno, code, one_in, at = 0;
    long fd, length;
    if (!control || !path) return 0;
    fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { errno = before; return 0; }
    length = syscall(SYS_read, (int)fd, line, sizeof line - 1);
    syscall(SYS_close, (int)fd);
    errno = before;
    if (length <= 0) return 0;
    line[length] = 0;
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%d %d %n", &code, &one_in, &at) != 2 || one_in < 1) return 0;
    if (!strstr(path, line + at) || atomic_fetch_add(&calls, 1) % (unsigned)one_in) return 0;
    errno = code;
    return 1;
}

static int fails(int fd) {
    char link[64], path[4096];
    ssize_t length;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0) return 0;
    path[length] = 0;
    return fails_on_path(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FD(type, name, parameters, arguments) \
    type name parameters {                       \
        static __typeof__(&name) real;           \
        if (!real) real = REAL(name);            \
        if (fails(fd)) return -1;                \
        return real arguments;                   \
    }

ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))

#define OPENS(name)                                                             \
    int name(const char *path, int flags, ...) {                                \
        static __typeof__(&name) real;                                          \
        va_list rest;                                                           \
        mode_t mode = 0;                                                        \
        if (!real) real = REAL(name);                                           \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {            \
            va_start(rest, flags);                                              \
            mode = va_arg(rest, mode_t);                                        \
            va_end(rest);                                                       \
        }                                                                       \
        if ((flags & (O_WRONLY | O_RDWR)) && fails_on_path(path)) return -1;    \
        return real(path, flags, mode);                                         \
    }

OPENS(open)
OPENS(open64)
