/* pages.h - memory that the system has not handed out yet.
 *
 * Every first write to a page is a trip to the kernel, which on fresh memory takes longer than the fill itself. Linux
 * makes the pages of a range in one call, from 5.14 on: benchmarks/README.md, "Fresh memory", has what that saves. */
#ifndef FASTINIT_PAGES_H
#define FASTINIT_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define FI_LOOK_FROM (1 << 20) /* bytes; in smaller outputs fresh pages are not looked for */

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define FI_LOOKS 8 /* pages that are looked at */

static inline uintptr_t fi_page_mask(void) { return (uintptr_t)sysconf(_SC_PAGESIZE) - 1; }

/* Whether most pages of an output are still to be made, by a look at a few. */
static inline int fi_is_fresh(const char *out, size_t bytes) {
    if (bytes < FI_LOOK_FROM)
        return 0;
    const uintptr_t mask = fi_page_mask();
    int fresh = 0;
    for (int i = 0; i < FI_LOOKS; i++) {
        unsigned char there = 1;
        const uintptr_t page = ((uintptr_t)out + (bytes - 1) / (FI_LOOKS - 1) * (size_t)i) & ~mask;
        if (mincore((void *)page, 1, &there) == 0 && !(there & 1))
            fresh++;
    }
    return fresh > FI_LOOKS / 2;
}

/* Makes the pages that these bytes lie in, all of which the caller is about to write. May fail: then each is made when
 * it is written. */
static inline void fi_make_pages(char *out, size_t bytes) {
    const uintptr_t mask = fi_page_mask();
    const uintptr_t begin = (uintptr_t)out & ~mask, end = ((uintptr_t)out + bytes + mask) & ~mask;
    (void)madvise((void *)begin, end - begin, MADV_POPULATE_WRITE);
}
#else
static inline int fi_is_fresh(const char *out, size_t bytes) {
    (void)out, (void)bytes;
    return 0;
}
static inline void fi_make_pages(char *out, size_t bytes) { (void)out, (void)bytes; }
#endif

#endif
