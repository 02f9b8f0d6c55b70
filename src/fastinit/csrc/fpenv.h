/* fpenv.h - the default floating-point environment around a thread's work.
 *
 * A library may have left flush-to-zero, denormals-are-zero, another rounding mode or (on Arm) the
 * alternative half format set in this thread. Each would change values. */
#ifndef FASTINIT_FPENV_H
#define FASTINIT_FPENV_H

#if defined(__x86_64__)
#include <xmmintrin.h>
typedef unsigned fi_fpenv;
static inline fi_fpenv fi_fpenv_default(void) {
    fi_fpenv saved = _mm_getcsr();
    _mm_setcsr(0x1F80); /* all exceptions masked, to nearest, denormals on */
    return saved;
}
static inline void fi_fpenv_restore(fi_fpenv saved) { _mm_setcsr(saved); }
#elif defined(__i386__)
#include <fenv.h>
#include <xmmintrin.h>
/* Compilers use the x87, too: to round what a function returns to float, for one. */
typedef struct {
    fenv_t x87;
    unsigned sse;
} fi_fpenv;
static inline fi_fpenv fi_fpenv_default(void) {
    fi_fpenv saved;
    fegetenv(&saved.x87);
    saved.sse = _mm_getcsr();
    fesetenv(FE_DFL_ENV);
    _mm_setcsr(0x1F80);
    return saved;
}
static inline void fi_fpenv_restore(fi_fpenv saved) {
    fesetenv(&saved.x87);
    _mm_setcsr(saved.sse);
}
#elif defined(__aarch64__)
#include <stdint.h>
typedef uint64_t fi_fpenv;
static inline fi_fpenv fi_fpenv_default(void) {
    fi_fpenv saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return saved;
}
static inline void fi_fpenv_restore(fi_fpenv saved) { __asm__ volatile("msr fpcr, %0" : : "r"(saved) : "memory"); }
#else
#include <fenv.h>
typedef fenv_t fi_fpenv;
static inline fi_fpenv fi_fpenv_default(void) {
    fi_fpenv saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    return saved;
}
static inline void fi_fpenv_restore(fi_fpenv saved) { fesetenv(&saved); }
#endif

#endif
