/* Products of matrices, in corners that the registers hold.

   Matrices consist of words: of floats or, where `low` is set, of two bfloat16 numbers that follow
   each other along `depth`. Sizes and distances count words. */

#pragma once

#include "plan.h"

/* c[i, j] = or += sum over k of a[i, k] b[k, j] */
typedef struct {
    size rows, width, depth;
    const float *a;
    size a_row, a_column;  /* from one row to the next, from one column to the next */
    const float *b;        /* in panels of columns */
    size b_row, b_panel;
    float *c;
    size c_row;
} Product;

INLINE vec add_product(const int low, vec sum, float x, vec row) {
#if HAS_BF16
    if (low)
        return (vec)_mm512_dpbf16_ps(
            (__m512)sum, (__m512bh)_mm512_set1_ps(x), (__m512bh)(__m512)row);
#endif
    (void)low;
    return sum + x * row;
}

/* the first `mr` rows and `nv` vectors of columns, held in registers */
INLINE void corner(const int low, const int mr, const int nv, const int add, Product m) {
    vec sum[14][4];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) sum[i][j] = add ? load(m.c + i * m.c_row + j * LANES) : all(0);
    for (size k = 0; k < m.depth; k++) {
        vec row[4];
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) row[j] = load(m.b + k * m.b_row + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            float x = m.a[i * m.a_row + k * m.a_column];
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) sum[i][j] = add_product(low, sum[i][j], x, row[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) store(m.c + i * m.c_row + j * LANES, sum[i][j]);
}

/* a panel: `mr` rows at a time, and what is left in smaller steps */
INLINE void columns(const int low, const int mr, const int nv, const int add, Product m) {
    size left = m.rows;
#define STEP(r) \
    for (; left >= r; left -= r, m.a += r * m.a_row, m.c += r * m.c_row) corner(low, r, nv, add, m)
    STEP(mr);
    STEP(3);
    STEP(2);
    STEP(1);
#undef STEP
}

INLINE void product(const int low, const int add, Product m) {
    size p = panel(m.width);
    for (size j = 0; j < m.width / p; j++, m.b += m.b_panel, m.c += p) {
#if LANES == 16
        if (p == 64) columns(low, 6, 4, add, m);
        else if (p == 32) columns(low, 12, 2, add, m);
        else columns(low, 12, 1, add, m);
#elif LANES == 8
        columns(low, 6, 2, add, m);
#else
        columns(low, 6, 4, add, m);
#endif
    }
}

/* a as [rows, depth], b in panels */
INLINE Product plain(size rows, size width, size depth, const float *a, const float *b, float *c) {
    size p = panel(width);
    return (Product){rows, width, depth, a, depth, 1, b, p, depth * p, c, width};
}

/* c = a b */
static void times(
    int low, size rows, size width, size depth, const float *a, const float *b, float *c) {
    Product m = plain(rows, width, depth, a, b, c);
    if (low) product(1, 0, m);
    else product(0, 0, m);
}

/* c += a b, of floats */
static void add_times(
    size rows, size width, size depth, const float *a, const float *b, float *c) {
    product(0, 1, plain(rows, width, depth, a, b, c));
}

/* c += a transposed times b: a as [depth, rows], b as [depth, width] */
static void add_outer(
    int low, size rows, size width, size depth, const float *a, const float *b, float *c) {
    Product m = {rows, width, depth, a, 1, rows, b, width, panel(width), c, width};
    if (low) product(1, 1, m);
    else product(0, 1, m);
}
