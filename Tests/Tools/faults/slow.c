// slow.c - makes the disk of a process slow, or hang, while it runs.
//
// Takes     POSTHOUSE_SLOW_FILE, a file of eight bytes, mapped: two numbers of 32 bits, in the
//           machine's order, which another process changes at any time: milliseconds that each
//           fsync and fdatasync takes longer, and each pwrite and pwritev. -1: it hangs until the
//           number is another.
// Gives     the call itself, behind the delay: nothing is lost, as on a disk that has to read a
//           sector many times, or on storage whose path is being switched.
// Use       cc -O2 -shared -fPIC -o slow.so slow.c; LD_PRELOAD=slow.so PROGRAM (64 bits only).
// Never     delays reads, open, fallocate, mapped memory, write and ftruncate.

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int32_t *delays;

__attribute__((constructor)) static void map_delays(void) {
    const char *path = getenv("POSTHOUSE_SLOW_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) _exit(71);
    void *map = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) _exit(71);
    delays = map;
    close(file);
}

static void rest(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

// Looked at again every 20 ms, so that a disk that is mended ends its waits.
static void delay(int which) {
    for (long waited = 0; delays[which] < 0 || waited < delays[which]; waited += 20) rest(20);
}

int fsync(int file) {
    delay(0);
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    delay(0);
    return (int)syscall(SYS_fdatasync, file);
}

ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t offset) {
    delay(1);
    return syscall(SYS_pwritev, file, pieces, (long)count, (long)offset, 0L);
}

ssize_t pwritev64(int file, const struct iovec *pieces, int count, off_t offset) {
    return pwritev(file, pieces, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    delay(1);
    return syscall(SYS_pwrite64, file, bytes, count, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t offset) {
    return pwrite(file, bytes, count, offset);
}
