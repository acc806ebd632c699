// Loaded before libc: writes down, in order, what a process does to the files of one folder, and makes some of it fail.
//
// POWERLOSS_DIR       the folder
// POWERLOSS_LOG       where it is written down, outside of that folder
// POWERLOSS_FAIL_SYNC the nth fsync in the folder fails with EIO, and the kernel has dropped what it was to write
// POWERLOSS_FAIL_WRITE the nth write in the folder is cut short, and all that follow fail with ENOSPC
//
// An entry: operation (w, t, s, f, u), offset or length (8 bytes), length of the path (4), of the data (4), path, data.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;
static int log_fd = -1;
static long fail_sync, fail_write, syncs, writes;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *);

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void start(void) {
    if (real_write) return;
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_ftruncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    real_unlink = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    dir = getenv("POWERLOSS_DIR");
    fail_sync = number("POWERLOSS_FAIL_SYNC");
    fail_write = number("POWERLOSS_FAIL_WRITE");
    const char *log = getenv("POWERLOSS_LOG");
    if (log) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ends_with(const char *path, const char *end) {
    size_t a = strlen(path), b = strlen(end);
    return a >= b && strcmp(path + a - b, end) == 0;
}

// What is deleted, or made anew after every crash, is of no interest.
static int watched_path(const char *path) {
    return dir && log_fd >= 0 && strncmp(path, dir, strlen(dir)) == 0 && !ends_with(path, "-shm")
        && !ends_with(path, ".lock") && !ends_with(path, " (deleted)");
}

static int watched(int fd, char *path) {
    char link[64];
    start();
    if (!dir || log_fd < 0 || fd == log_fd) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return watched_path(path);
}

static void note(char operation, uint64_t at, const char *path, const void *data, uint32_t length) {
    uint32_t path_length = strlen(path);
    char head[17];
    head[0] = operation;
    memcpy(head + 1, &at, 8);
    memcpy(head + 9, &path_length, 4);
    memcpy(head + 13, &length, 4);
    if (real_write(log_fd, head, 17) != 17 || real_write(log_fd, path, path_length) != path_length
        || (length && real_write(log_fd, data, length) != length))
        abort();
}

static ssize_t noted_write(int fd, const void *data, size_t length, off_t at, int moves, const char *path) {
    // What the process tells us must get through.
    if (fail_write && !ends_with(path, "/acks") && ++writes >= fail_write) {
        if (writes > fail_write || length < 2) {
            errno = ENOSPC;
            return -1;
        }
        length /= 2;
    }
    ssize_t written = moves ? real_write(fd, data, length) : real_pwrite(fd, data, length, at);
    if (written > 0) note('w', at, path, data, written);
    return written;
}

ssize_t write(int fd, const void *data, size_t length) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_write(fd, data, length);
    pthread_mutex_lock(&one_at_a_time);
    ssize_t written = noted_write(fd, data, length, lseek(fd, 0, SEEK_CUR), 1, path);
    pthread_mutex_unlock(&one_at_a_time);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_pwrite(fd, data, length, at);
    pthread_mutex_lock(&one_at_a_time);
    ssize_t written = noted_write(fd, data, length, at, 0, path);
    pthread_mutex_unlock(&one_at_a_time);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return pwrite(fd, data, length, at);
}

int fsync(int fd) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_fsync(fd);
    pthread_mutex_lock(&one_at_a_time);
    int failed = fail_sync && ++syncs == fail_sync;
    // Whether the disk really has it is of no interest: what it would have is worked out from the log.
    note(failed ? 'f' : 's', 0, path, NULL, 0);
    pthread_mutex_unlock(&one_at_a_time);
    if (failed) errno = EIO;
    return failed ? -1 : 0;
}

int fdatasync(int fd) {
    return fsync(fd);
}

int ftruncate(int fd, off_t length) {
    char path[PATH_MAX];
    if (!watched(fd, path)) return real_ftruncate(fd, length);
    pthread_mutex_lock(&one_at_a_time);
    int failed = real_ftruncate(fd, length);
    if (!failed) note('t', length, path, NULL, 0);
    pthread_mutex_unlock(&one_at_a_time);
    return failed;
}

int ftruncate64(int fd, off64_t length) {
    return ftruncate(fd, length);
}

int unlink(const char *path) {
    start();
    if (!watched_path(path)) return real_unlink(path);
    pthread_mutex_lock(&one_at_a_time);
    int failed = real_unlink(path);
    if (!failed) note('u', 0, path, NULL, 0);
    pthread_mutex_unlock(&one_at_a_time);
    return failed;
}
