/* nvrtc/stdint.h - the integer types that the kernels use, for NVRTC, which has no system headers. */
#ifndef FASTINIT_NVRTC_STDINT_H
#define FASTINIT_NVRTC_STDINT_H

typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

#endif
