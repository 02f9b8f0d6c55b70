/* isa_avx2.c - the kernels of template.h on lanes_avx2.h. */
#include "lanes_avx2.h"

#define ISA avx2
#include "template.h"
