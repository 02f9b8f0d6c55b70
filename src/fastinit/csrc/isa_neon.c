/* isa_neon.c - the kernels of template.h on lanes_neon.h. */
#include "lanes_neon.h"

#define ISA neon
#include "template.h"
