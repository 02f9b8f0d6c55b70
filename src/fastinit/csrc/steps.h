/* steps.h - what matrices are made of, one step after the other or side by side.
 *
 * Each kind of step is cut into tiles by a file of its own: products by product.c, reflectors and triangular factors by
 * matrix.c, what is done element by element by elementwise.c, fills by tiles.c. */
#ifndef FASTINIT_STEPS_H
#define FASTINIT_STEPS_H

#include "fastinit.h"
#include "parallel.h"

fi_task fi_fill_task(void *room, const fi_isa *isa, fi_filling *filling);
size_t fi_fill_room(void); /* bytes that a fill's task needs while it is done */

/* `least`: tiles that there should be at least. */
fi_task fi_product_task(fi_multiplication *multiplication, const fi_isa *isa, char *scratch, int64_t least,
                        int threads);
int64_t fi_terms(const fi_multiplication *multiplication);

fi_task fi_accumulate_task(fi_accumulation *accumulation);
fi_task fi_scale_task(fi_scaling *scaling);
fi_task fi_reflectors_task(const fi_reflecting *reflecting);
fi_task fi_triangular_task(fi_triangular *triangular, char *scratch);
fi_task fi_cholesky_task(const fi_factoring *factoring);

#endif
