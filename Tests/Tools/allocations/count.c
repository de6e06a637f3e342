// count.c - counts the allocations of a process while it runs.
//
// Takes     POSTHOUSE_ALLOCATIONS, the path of a file of at least eight bytes.
// Gives     in the file's first eight bytes (native order) the number of calls so far of malloc,
//           calloc, realloc, reallocarray, posix_memalign, aligned_alloc, memalign and valloc, of
//           all threads; whoever maps or reads the file sees it at once.
// Use       cc -O2 -shared -fPIC -o count.so count.c; LD_PRELOAD=count.so PROGRAM (glibc only).
// Never     counts free, nor what the C library allocates for itself without these names.

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// glibc's own entry points: no dlsym, which allocates.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static uint64_t unmapped;
// Set once, before main and before there are threads.
static uint64_t *calls = &unmapped;

__attribute__((constructor)) static void map_counter(void) {
    const char *path = getenv("POSTHOUSE_ALLOCATIONS");
    if (path == NULL) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) _exit(71);
    void *page = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page == MAP_FAILED) _exit(71);
    calls = page;
}

static inline void count(void) { __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED); }

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t number, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(number, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    count();
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *valloc(size_t size) {
    count();
    return __libc_memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    size_t words = alignment / sizeof(void *);
    if (words == 0 || alignment % sizeof(void *) != 0 || (words & (words - 1)) != 0) return EINVAL;
    count();
    void *memory = __libc_memalign(alignment, size);
    if (memory == NULL) return ENOMEM;
    *result = memory;
    return 0;
}
