/* matrices.h - what products and reflectors are on any device: docs/stream.md, "Orthogonal".
 *
 * Types, and formulas without a product and a sum that a compiler could contract. The compiler for GPUs reads it, too.
 */
#ifndef FASTINIT_MATRICES_H
#define FASTINIT_MATRICES_H

#include <stdint.h>

typedef enum { FI_SET, FI_ADD, FI_SUBTRACT } fi_update;

#define FI_DEPTH 256           /* terms of a product that are summed before they are added to C */
#define FI_ALL (INT64_MAX / 4) /* a reach or a diagonal that leaves out nothing */

/* The factor of Q's column, from the entry on the diagonal and the norm of those from it down. The last column of a
 * square matrix is its one entry's sign: no reflection. */
static inline double fi_column_sign(double x, double norm, int is_last) {
    if (is_last)
        return x >= 0 ? 1 : -1;
    return norm > 0 && x >= 0 ? -1 : 1;
}
/* What takes the place of that entry. */
static inline double fi_reflector_head(double x, double norm, double sign, int is_last) {
    if (is_last)
        return 0;
    return sign > 0 ? x - norm : x + norm;
}
/* The diagonal of T's inverse, from that of V'V; 0 where v = 0: any T gives I. */
static inline double fi_factor_diagonal(double square) { return square > 0 ? 0.5 * square : 1; }

#endif
