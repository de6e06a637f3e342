// fault.c - makes the disk of a process fail at a chosen call.
//
// Takes     POSTHOUSE_FAULT_CALL, "sync" (fsync, fdatasync) or "write" (pwrite, pwritev);
//           POSTHOUSE_FAULT_AT, the first call of them that fails, from 1, of all threads;
//           POSTHOUSE_FAULT_PATH, part of the path of files that count, if set;
//           POSTHOUSE_FAULT_ERRNO, with what; POSTHOUSE_FAULT_ONCE, if set, only that call fails.
// Gives     the worst that a disk may do then: a write that fails has left the first half of its
//           bytes; a sync that fails has lost all that was written to the file since its last
//           sync, and the old bytes are back.
// Use       cc -O2 -shared -fPIC -o fault.so fault.c; LD_PRELOAD=fault.so PROGRAM (64 bits only).
// Never     undoes the growth of a file, nor sees mapped memory, write and ftruncate.

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// What a write replaced; the newest first.
struct old {
    struct old *next;
    int file;
    off_t offset;
    size_t count;
    char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct old *olds;
static long calls;
static long fault_at;
static int fault_errno;
static int fails_once;
static int fails_syncs;
static const char *fault_path;

__attribute__((constructor)) static void read_settings(void) {
    const char *call = getenv("POSTHOUSE_FAULT_CALL");
    const char *at = getenv("POSTHOUSE_FAULT_AT");
    const char *code = getenv("POSTHOUSE_FAULT_ERRNO");
    if (call == NULL || at == NULL || code == NULL) _exit(71);
    fails_syncs = strcmp(call, "sync") == 0;
    fault_at = atol(at);
    fault_errno = atoi(code);
    fault_path = getenv("POSTHOUSE_FAULT_PATH");
    fails_once = getenv("POSTHOUSE_FAULT_ONCE") != NULL;
}

// Under the lock, as all below.
static int is_faulty(int is_sync, int file) {
    if (is_sync != fails_syncs) return 0;
    if (fault_path != NULL) {
        char link[64];
        char path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t count = readlink(link, path, sizeof path - 1);
        if (count < 0) return 0;
        path[count] = 0;
        if (strstr(path, fault_path) == NULL) return 0;
    }
    calls++;
    return fails_once ? calls == fault_at : calls >= fault_at;
}

static size_t total(const struct iovec *pieces, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += pieces[i].iov_len;
    return bytes;
}

static void keep_old(int file, size_t count, off_t offset) {
    struct old *old = malloc(sizeof *old + count);
    if (old == NULL) _exit(71);
    old->next = olds;
    old->file = file;
    old->offset = offset;
    old->count = count;
    memset(old->bytes, 0, count);
    // Past the end of the file, and if it is open for writing alone, zeros come back.
    syscall(SYS_pread64, file, old->bytes, count, offset);
    olds = old;
}

// Forgets what was kept of a file, or puts it back.
static void settle(int file, int puts_back) {
    struct old **place = &olds;
    while (*place != NULL) {
        struct old *old = *place;
        if (old->file != file) {
            place = &old->next;
            continue;
        }
        if (puts_back) {
            long done = syscall(SYS_pwrite64, file, old->bytes, old->count, old->offset);
            if (done != (long)old->count) _exit(71);
        }
        *place = old->next;
        free(old);
    }
}

static ssize_t put(int file, const struct iovec *pieces, int count, off_t offset) {
    pthread_mutex_lock(&lock);
    size_t bytes = total(pieces, count);
    keep_old(file, bytes, offset);
    ssize_t result;
    int code;
    if (is_faulty(0, file)) {
        size_t left = bytes / 2;
        for (int i = 0; i < count && left > 0; i++) {
            size_t part = pieces[i].iov_len < left ? pieces[i].iov_len : left;
            if (syscall(SYS_pwrite64, file, pieces[i].iov_base, part, offset) < 0) break;
            offset += (off_t)part;
            left -= part;
        }
        result = -1;
        code = fault_errno;
    } else {
        result = syscall(SYS_pwritev, file, pieces, (long)count, (long)offset, 0L);
        code = errno;
    }
    pthread_mutex_unlock(&lock);
    errno = code;
    return result;
}

// The lock is held meanwhile: no write comes between the sync and what it settles.
static int sync_file(int file, long number) {
    pthread_mutex_lock(&lock);
    int is_fault = is_faulty(1, file);
    int result = is_fault ? -1 : (int)syscall(number, file);
    int code = is_fault ? fault_errno : errno;
    settle(file, is_fault);
    pthread_mutex_unlock(&lock);
    errno = code;
    return result;
}

int fsync(int file) { return sync_file(file, SYS_fsync); }

int fdatasync(int file) { return sync_file(file, SYS_fdatasync); }

ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t offset) {
    return put(file, pieces, count, offset);
}

ssize_t pwritev64(int file, const struct iovec *pieces, int count, off_t offset) {
    return put(file, pieces, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
    return put(file, &piece, 1, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t offset) {
    return pwrite(file, bytes, count, offset);
}

// What was not synced stays as it is, and the number may be another file's next.
int close(int file) {
    pthread_mutex_lock(&lock);
    settle(file, 0);
    pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_close, file);
}
