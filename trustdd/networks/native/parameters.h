/* Parameters as the passes read them, and gradients as Python reads them. */

#pragma once

#include <string.h>

#include "piece.h"
#include "winograd.h"

/* a lane's part of what is shared out */
INLINE size part(size count, size lanes, size lane) { return count * lane / lanes; }

/* between `parameters()` order, [rows, width, s, s], and channels last */
static void reorder(const Plan *p, size rows, const float *from, float *to, int back) {
    size width = p->width, s = side(p, p->depth), spots = s * s;
    for (size j = 0; j < rows; j++)
        for (size c = 0; c < width; c++)
            for (size k = 0; k < spots; k++) {
                size first = (j * width + c) * spots + k, last = (j * spots + k) * width + c;
                if (back) to[first] = from[last];
                else to[last] = from[first];
            }
}

/* One vector of 36 transformed weights to row k, columns j and on, of a matrix in panels. */
INLINE void keep_weights(const Plan *p, size k, size j, const vec *u, float *to) {
    size width = p->width, square = width * width;
    if (!p->bf16) {
        for (int q = 0; q < POINTS; q++)
            store(to + q * square + in_panels(width, width, k, j), u[q]);
        return;
    }
#if HAS_BF16
    /* rows in pairs: even rows are the lower halves of words */
    for (int q = 0; q < POINTS; q++) {
        uint16_t *own = (uint16_t *)(to + q * square);
        __m256i low = (__m256i)_mm512_cvtneps_pbh((__m512)u[q]);
        uint16_t numbers[LANES];
        _mm256_storeu_si256((void *)numbers, low);
        size at = 2 * in_panels(width, width / 2, k / 2, j) + k % 2;
        for (int l = 0; l < LANES; l++) own[at + 2 * l] = numbers[l];
    }
#endif
}

/* block i's weight, rows `first` to `last` of both ways */
static void transform_weights(
    const Plan *p, size i, const float *weight, const Prepared *to, size first, size last) {
    size width = p->width;
    /* lanes along the outputs for the forward pass, along the inputs for the backward pass */
    for (int back = 0; back < 2; back++)
        for (size k = first; k < last; k++)
            for (size j = 0; j < width; j += LANES) {
                vec g[9], u[POINTS];
                for (int a = 0; a < 9; a++)
                    for (int l = 0; l < LANES; l++) {
                        size in = back ? j + l : k, out = back ? k : j + l;
                        g[a][l] = weight[(out * width + in) * 9 + a];
                    }
                weight_2d(u, g);
                keep_weights(p, k, j, u, back ? to->backward[i] : to->forward[i]);
            }
}

/* a lane's share of parameters -> what the passes read */
static void prepare(
    const Plan *p, const float *const *tensors, const Prepared *to, size lanes, size lane) {
    size width = p->width, n = taps(p);
    size first = part(width, lanes, lane), last = part(width, lanes, lane + 1);
    for (size i = 1; i < p->depth; i++)
        transform_weights(p, i, weight_of(tensors, i), to, first, last);
    if (lane > 0) return;
    memset(to->first_back, 0, taps_wide(p) * width * sizeof(float));
    for (size k = 0; k < n; k++)
        for (size j = 0; j < width; j++) {
            float weight = weight_of(tensors, 0)[j * n + k];
            to->first[in_panels(width, n, k, j)] = weight;
            to->first_back[in_panels(taps_wide(p), width, j, k)] = weight;
        }
    reorder(p, p->classes, linear_of(p, tensors), to->linear, 0);
}

/* block i's sums -> its weight's gradient, input channels `first` to `last` */
static void untransform_weights(
    const Plan *p, const float *sums, float *gradient, size first, size last) {
    size width = p->width, square = width * width;
    for (size c = first; c < last; c++)
        for (size k = 0; k < width; k += LANES) {
            vec u[POINTS], g[9];
            for (int q = 0; q < POINTS; q++) u[q] = load(sums + q * square + c * width + k);
            by_weight_2d(g, u);
            for (int a = 0; a < 9; a++)
                for (int l = 0; l < LANES; l++)
                    gradient[((k + l) * width + c) * 9 + a] = g[a][l];
        }
}

/* a lane's share of sums -> gradients, but a convolution's bias, which is left as it is */
static void finish(
    const Plan *p, float *sums, float *const *gradients, size lanes, size lane) {
    Sums from;
    size width = p->width, n = taps(p), depth = p->depth;
    sums_at(p, sums, &from);
    for (size i = 1; i < depth; i++)
        untransform_weights(p, from.weight[i], gradients[4 * i], part(width, lanes, lane),
                            part(width, lanes, lane + 1));
    if (lane > 0) return;
    for (size k = 0; k < n; k++)
        for (size j = 0; j < width; j++) gradients[0][j * n + k] = from.first[k * width + j];
    for (size i = 0; i < depth; i++) {
        memcpy(gradients[4 * i + 2], from.scale[i], width * sizeof(float));
        memcpy(gradients[4 * i + 3], from.shift[i], width * sizeof(float));
    }
    reorder(p, p->classes, from.linear, gradients[4 * depth], 1);
    memcpy(gradients[4 * depth + 1], from.bias, p->classes * sizeof(float));
}
