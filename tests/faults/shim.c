/* A disk that fails and a clock that jumps, for LD_PRELOAD. Each process counts its own calls.

   FAULT_FOLDER  the disk: all files whose path begins so
   FAULT_CALL    write | sync: which calls fail
   FAULT_FIRST   the number of the first that does, from 1; FAULT_LAST that of the last
   FAULT_ERROR   errno that they fail with; 0: they write half of what they are given
   FAULT_LOG     gets a byte for each that did
   FAULT_JUMP    seconds that the time of day is off, in turns forwards and backwards */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *folder, *call, *report;
static long first, last, number, count;
static double jump;

__attribute__((constructor)) static void read_settings(void)
{
    if (getenv("FAULT_FOLDER") && getenv("FAULT_CALL")) {
        call = getenv("FAULT_CALL");
        report = getenv("FAULT_LOG");
        first = atol(getenv("FAULT_FIRST"));
        last = atol(getenv("FAULT_LAST"));
        number = atol(getenv("FAULT_ERROR"));
        folder = getenv("FAULT_FOLDER");
    }
    if (getenv("FAULT_JUMP"))
        jump = atof(getenv("FAULT_JUMP"));
}

/* Whether this call is one that fails. */
static int is_struck(int file, const char *what)
{
    char link[32], path[4096];
    if (!folder || strcmp(what, call))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < (ssize_t)strlen(folder) || strncmp(path, folder, strlen(folder)))
        return 0;
    long now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (now < first || now > last)
        return 0;
    int log = syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_APPEND | O_CREAT, 0644);
    syscall(SYS_write, log, "x", 1);
    syscall(SYS_close, log);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL return errno = number, -1
#define HALF(size) ((size) > 1 ? (size) / 2 : (size))

#define WRITES(name, parameters, whole, half)                                                     \
    ssize_t name parameters                                                                       \
    {                                                                                             \
        if (!is_struck(file, "write"))                                                            \
            return REAL(name) whole;                                                              \
        if (number)                                                                               \
            FAIL;                                                                                 \
        return half;                                                                              \
    }

WRITES(write, (int file, const void *data, size_t size), (file, data, size),
       REAL(write)(file, data, HALF(size)))
WRITES(pwrite, (int file, const void *data, size_t size, off_t place), (file, data, size, place),
       REAL(pwrite)(file, data, HALF(size), place))
WRITES(pwrite64, (int file, const void *data, size_t size, off64_t place),
       (file, data, size, place), REAL(pwrite64)(file, data, HALF(size), place))
WRITES(writev, (int file, const struct iovec *parts, int size), (file, parts, size),
       REAL(write)(file, parts->iov_base, HALF(parts->iov_len)))
WRITES(pwritev, (int file, const struct iovec *parts, int size, off_t place),
       (file, parts, size, place),
       REAL(pwrite)(file, parts->iov_base, HALF(parts->iov_len), place))
WRITES(pwritev64, (int file, const struct iovec *parts, int size, off64_t place),
       (file, parts, size, place),
       REAL(pwrite64)(file, parts->iov_base, HALF(parts->iov_len), place))

int fsync(int file)
{
    if (is_struck(file, "sync"))
        FAIL;
    return REAL(fsync)(file);
}

int fdatasync(int file)
{
    if (is_struck(file, "sync"))
        FAIL;
    return REAL(fdatasync)(file);
}

/* The time of day is right for half a second, then early, then late, and so on. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = syscall(SYS_clock_gettime, clock, now);
    if (jump && clock == CLOCK_REALTIME && !status) {
        struct timespec passed;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &passed);
        long turn = (passed.tv_sec * 2 + passed.tv_nsec / 500000000) % 3;
        now->tv_sec += turn == 0 ? 0 : turn == 1 ? (long)jump : -(long)jump;
    }
    return status;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (now)
        *now = time.tv_sec;
    return time.tv_sec;
}
