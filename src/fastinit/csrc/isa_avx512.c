/* isa_avx512.c - the kernels of template.h on lanes_avx512.h. */
#include "lanes_avx512.h"

#define ISA avx512
#include "template.h"
