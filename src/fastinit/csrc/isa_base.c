/* isa_base.c - the kernels of template.h on lanes_base.h. */
#include "lanes_base.h"

#define ISA base
#include "template.h"
