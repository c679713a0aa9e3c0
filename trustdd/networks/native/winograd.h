/* Winograd's transforms of tiles: F(4x4, 3x3), what they are is said in convnet.c. */

#pragma once

#include "plan.h"

/* Polynomials are multiplied by their values at 0, infinity and four points between: -a, a, -b, b.
   With a = 1/sqrt(2), b = sqrt(2) rounding errors are half of those of the usual 1 and 2. */
#define PA 0.70710678118654752f
#define PB 1.41421356237309505f
#define A2 0.5f /* a^2 */
#define B2 2.0f
#define FA (-1.5f) /* 2 a^2 (a^2 - b^2): what a's and -a's weights are divided by */
#define FB 6.0f

/* along one dimension, between vectors `step` apart */
INLINE void input_1d(vec *to, const vec *d, const int step) {
    vec d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    vec even = d4 - B2 * d2, odd = PA * (d3 - B2 * d1);
    vec far = d4 - A2 * d2, lead = PB * (d3 - A2 * d1);
    to[0] = A2 * B2 * d[0] - (A2 + B2) * d2 + d4;
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = far + lead;
    to[4 * step] = far - lead;
    to[5 * step] = A2 * B2 * d1 - (A2 + B2) * d3 + d[5 * step];
}

/* its transpose */
INLINE void by_input_1d(vec *to, const vec *v, const int step) {
    vec v0 = v[0], v5 = v[5 * step];
    vec sum = v[step] + v[2 * step], gap = PA * (v[step] - v[2 * step]);
    vec total = v[3 * step] + v[4 * step], lead = PB * (v[3 * step] - v[4 * step]);
    to[0] = A2 * B2 * v0;
    to[step] = A2 * B2 * v5 - B2 * gap - A2 * lead;
    to[2 * step] = -(A2 + B2) * v0 - B2 * sum - A2 * total;
    to[3 * step] = gap + lead - (A2 + B2) * v5;
    to[4 * step] = v0 + sum + total;
    to[5 * step] = v5;
}

INLINE void output_1d(vec *to, const vec *m, const int from, const int step) {
    vec sum = m[from] + m[2 * from], gap = PA * (m[from] - m[2 * from]);
    vec total = m[3 * from] + m[4 * from], lead = PB * (m[3 * from] - m[4 * from]);
    to[0] = m[0] + sum + total;
    to[step] = gap + lead;
    to[2 * step] = A2 * sum + B2 * total;
    to[3 * step] = A2 * gap + B2 * lead + m[5 * from];
}

/* its transpose */
INLINE void by_output_1d(vec *to, const vec *y, const int from, const int step) {
    vec y0 = y[0], y1 = y[from], y2 = y[2 * from], y3 = y[3 * from];
    vec even = y0 + A2 * y2, odd = PA * (y1 + A2 * y3);
    vec far = y0 + B2 * y2, lead = PB * (y1 + B2 * y3);
    to[0] = y0;
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = far + lead;
    to[4 * step] = far - lead;
    to[5 * step] = y3;
}

INLINE void weight_1d(vec *to, const vec *g, const int from, const int step) {
    vec g0 = g[0], g1 = g[from], g2 = g[2 * from];
    vec even = (g0 + A2 * g2) / FA, odd = g1 * (PA / FA);
    vec far = (g0 + B2 * g2) / FB, lead = g1 * (PB / FB);
    to[0] = g0 / (A2 * B2);
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = far + lead;
    to[4 * step] = far - lead;
    to[5 * step] = g2;
}

/* its transpose */
INLINE void by_weight_1d(vec *to, const vec *u, const int from, const int step) {
    vec sum = (u[from] + u[2 * from]) / FA, gap = (u[from] - u[2 * from]) * (PA / FA);
    vec total = (u[3 * from] + u[4 * from]) / FB, lead = (u[3 * from] - u[4 * from]) * (PB / FB);
    to[0] = u[0] / (A2 * B2) + sum + total;
    to[step] = gap + lead;
    to[2 * step] = A2 * sum + B2 * total + u[5 * from];
}

INLINE void input_2d(vec *d) {
    EACH(i, 6) input_1d(d + i, d + i, 6);
    EACH(i, 6) input_1d(d + 6 * i, d + 6 * i, 1);
}

INLINE void by_input_2d(vec *v) {
    EACH(i, 6) by_input_1d(v + i, v + i, 6);
    EACH(i, 6) by_input_1d(v + 6 * i, v + 6 * i, 1);
}

/* [6, 6] -> [4, 4] */
INLINE void output_2d(vec *y, const vec *m) {
    vec half[24];
    EACH(i, 6) output_1d(half + i, m + i, 6, 6);
    EACH(i, 4) output_1d(y + 4 * i, half + 6 * i, 1, 1);
}

/* [4, 4] -> [6, 6] */
INLINE void by_output_2d(vec *m, const vec *y) {
    vec half[24];
    EACH(i, 4) by_output_1d(half + i, y + i, 4, 4);
    EACH(i, 6) by_output_1d(m + 6 * i, half + 4 * i, 1, 1);
}

/* [3, 3] -> [6, 6] */
INLINE void weight_2d(vec *u, const vec *g) {
    vec half[18];
    EACH(i, 3) weight_1d(half + i, g + i, 3, 3);
    EACH(i, 6) weight_1d(u + 6 * i, half + 3 * i, 1, 1);
}

/* [6, 6] -> [3, 3] */
INLINE void by_weight_2d(vec *g, const vec *u) {
    vec half[18];
    EACH(i, 6) by_weight_1d(half + i, u + i, 6, 6);
    EACH(i, 3) by_weight_1d(g + 3 * i, half + 6 * i, 1, 1);
}
