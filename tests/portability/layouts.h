/* layouts.h - the check of layouts.c: how many are wrong; `lines` counts them all. */
#ifndef LAYOUTS_H
#define LAYOUTS_H

#include "fastinit.h"

int check_layouts(const fi_isa *isa, int *lines);

#endif
