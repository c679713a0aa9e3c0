/* Tiles on their way between pictures and the 36 matrices that are multiplied. */

#pragma once

#include <string.h>

#include "winograd.h"

/* where a tile lies */
typedef struct {
    size image, row, column;
} Place;

INLINE Place place(const Plan *p, size i, size t) {
    size s = tiles(p, i);
    return (Place){t / (s * s), t / s % s, t % s};
}

/* where its first number lies in pictures of `s` pixels a row */
INLINE size first_of(Place at, size s, size width) {
    return ((at.image * s + 4 * at.row) * s + 4 * at.column) * width;
}

/* Transformed tiles t and t + 1, where there is one, of one vector of channels, to where the
   products read them: as float32 [36, tiles, width]; as bfloat16 behind each other,
   [36, tiles, width], and behind that in pairs of tiles, [36, tiles / 2, width, 2]. */
INLINE void keep(
    const Plan *p, size i, size n, size t, size c, const vec (*both)[POINTS], float *to) {
    const vec *first = both[0], *second = both[1];
    int two = t + 1 < tiles_of(p, i, n);
    size jump = stride(p, i, n), width = p->width;
    if (!p->bf16) {
        for (int q = 0; q < POINTS; q++) store(to + q * jump + t * width + c, first[q]);
        if (two)
            for (int q = 0; q < POINTS; q++) store(to + q * jump + (t + 1) * width + c, second[q]);
        return;
    }
#if HAS_BF16
    size half = many(p, i, n) * width / 2;
    for (int q = 0; q < POINTS; q++) {
        float *own = to + q * jump;
        __m512i one = beside(first[q], second[q]);
        _mm256_storeu_si256((void *)(own + (t * width + c) / 2), _mm512_castsi512_si256(one));
        _mm256_storeu_si256(
            (void *)(own + ((t + 1) * width + c) / 2), _mm512_extracti64x4_epi64(one, 1));
        _mm512_storeu_si512(own + half + t / 2 * width + c, paired(first[q], second[q]));
    }
#endif
}

/* inputs with zeros around them -> `inputs` */
static void transform_inputs(const Plan *p, size i, size n, const float *around, float *inputs) {
    size s = padded(p, i), width = p->width, count = tiles_of(p, i, n);
    for (size t = 0; t < count; t += 2)
        for (size c = 0; c < width; c += LANES) {
            vec d[2][POINTS];
            for (int q = 0; q < 2; q++) {
                if (t + q == count) {
                    memset(d[q], 0, sizeof d[q]);
                    continue;
                }
                Place at = place(p, i, t + q);
                const float *from = around + first_of(at, s, width) + c;
                EACH(y, 6) EACH(x, 6) d[q][6 * y + x] = load(from + (y * s + x) * width);
                input_2d(d[q]);
            }
            keep(p, i, n, t, c, d, inputs);
        }
}

/* the gradient of `inputs` -> that of the inputs with zeros around them */
static void untransform_inputs(
    const Plan *p, size i, size n, const float *by_inputs, float *around) {
    size s = padded(p, i), width = p->width, jump = stride(p, i, n);
    size count = tiles_of(p, i, n);
    memset(around, 0, n * s * s * width * sizeof(float));
    for (size t = 0; t < count; t++) {
        float *to = around + first_of(place(p, i, t), s, width);
        for (size c = 0; c < width; c += LANES) {
            vec v[POINTS];
            for (int q = 0; q < POINTS; q++) v[q] = load(by_inputs + q * jump + t * width + c);
            by_input_2d(v);
            EACH(y, 6) EACH(x, 6) {
                float *own = to + (y * s + x) * width + c;
                store(own, load(own) + v[6 * y + x]);
            }
        }
    }
}

static void transform_outputs(
    const Plan *p, size i, size n, const float *products, float *outputs) {
    size s = side(p, i), width = p->width, jump = stride(p, i, n);
    size count = tiles_of(p, i, n);
    for (size t = 0; t < count; t++) {
        Place at = place(p, i, t);
        size high = least(4, s - 4 * at.row), wide = least(4, s - 4 * at.column);
        float *to = outputs + first_of(at, s, width);
        for (size c = 0; c < width; c += LANES) {
            vec m[POINTS], y[16];
            for (int q = 0; q < POINTS; q++) m[q] = load(products + q * jump + t * width + c);
            output_2d(y, m);
            for (size a = 0; a < high; a++)
                for (size b = 0; b < wide; b++) store(to + (a * s + b) * width + c, y[4 * a + b]);
        }
    }
}

/* the gradient of the outputs -> that of `products` */
static void untransform_outputs(
    const Plan *p, size i, size n, const float *by_outputs, float *products) {
    size s = side(p, i), width = p->width, count = tiles_of(p, i, n);
    for (size t = 0; t < count; t += 2)
        for (size c = 0; c < width; c += LANES) {
            vec m[2][POINTS], y[16];
            for (int q = 0; q < 2; q++) {
                if (t + q == count) {
                    memset(m[q], 0, sizeof m[q]);
                    continue;
                }
                Place at = place(p, i, t + q);
                size high = least(4, s - 4 * at.row), wide = least(4, s - 4 * at.column);
                const float *from = by_outputs + first_of(at, s, width) + c;
                if (high == 4 && wide == 4) {
                    EACH(a, 4) EACH(b, 4) y[4 * a + b] = load(from + (a * s + b) * width);
                } else {
                    for (size a = 0; a < 4; a++)
                        for (size b = 0; b < 4; b++)
                            y[4 * a + b] = a < high && b < wide
                                ? load(from + (a * s + b) * width) : all(0);
                }
                by_output_2d(m[q], y);
            }
            keep(p, i, n, t, c, m, products);
        }
}
