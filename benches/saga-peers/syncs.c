// Loaded before libc: counts fsync and fdatasync of every process that has it, in the eight bytes of the file SYNCS names.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t *counted;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void start(void) {
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("SYNCS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) counted = page;
    close(fd);
}

static void count(void) {
    if (counted) __atomic_add_fetch(counted, 1, __ATOMIC_RELAXED);
}

int fsync(int fd) {
    count();
    return real_fsync(fd);
}

int fdatasync(int fd) {
    count();
    return real_fdatasync(fd);
}
