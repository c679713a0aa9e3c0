/* A piece of a batch on its way through the network, and where its numbers lie. */

#pragma once

#include <string.h>

#include "block.h"
#include "workspace.h"

typedef struct {
    const Plan *plan;
    int mode;
    size n;                              /* images */
    const float *images;                 /* [n, channels, image, image] */
    const float *targets, *weights;      /* of the loss, [n, classes] and [n] */
    const float *const *parameters, *const *direction; /* in `parameters()` order */
    const Prepared *ready, *more;        /* made of these two */
    float *logits;                       /* [n, classes] */
    float *by_images;                    /* derivative of the images' gradient */
    const Sums *sums, *sums_along;       /* or none */
    const Work *work;
    float *shares, *changes;             /* an image's, see `logits_along`, [classes] */
} Piece;

/* of block i: weight [width, in, 3, 3] and bias, scale and shift of the norm, [width] */
INLINE const float *weight_of(const float *const *tensors, size i) { return tensors[4 * i]; }
INLINE const float *bias_of(const float *const *tensors, size i) { return tensors[4 * i + 1]; }
INLINE const float *scale_of(const float *const *tensors, size i) { return tensors[4 * i + 2]; }
INLINE const float *shift_of(const float *const *tensors, size i) { return tensors[4 * i + 3]; }

/* of the linear layer: weight [classes, features] in the usual order, bias [classes] */
INLINE const float *linear_of(const Plan *p, const float *const *tensors) {
    return tensors[4 * p->depth];
}
INLINE const float *linear_bias_of(const Plan *p, const float *const *tensors) {
    return tensors[4 * p->depth + 1];
}

/* image k in block i's norm */
INLINE Norm norm_of(const Piece *t, size i, size k) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size own = k * p->width, at = k * picture(p, i);
    Norm b = {
        .side = side(p, i), .width = p->width, .eps = p->eps,
        .bias = bias_of(t->parameters, i),
        .scale = scale_of(t->parameters, i), .shift = shift_of(t->parameters, i),
        .outputs = w->outputs[i] + at, .by_outputs = w->by_outputs[i] + at,
        .mean = w->mean[i] + own, .deviation = w->deviation[i] + own,
    };
    if (t->sums) b.by_scale = t->sums->scale[i], b.by_shift = t->sums->shift[i];
    if (t->mode != ALONG) return b;
    b.scale_along = scale_of(t->direction, i), b.shift_along = shift_of(t->direction, i);
    b.by_pooled = w->by_pooled[i] + k * picture(p, i + 1);
    b.along = w->along[i] + at, b.slope = w->slope[i] + own;
    if (t->sums_along)
        b.by_scale_along = t->sums_along->scale[i], b.by_shift_along = t->sums_along->shift[i];
    return b;
}

/* What block i gives of image k, or its gradient: inside of the next block's inputs with zeros
   around them, or, of the last block, among features. */
INLINE Picture given_by(const Piece *t, size i, size k, float *features_of_all) {
    const Plan *p = t->plan;
    if (i + 1 == p->depth) return (Picture){features_of_all + k * features(p), side(p, p->depth)};
    size row = padded(p, i + 1);
    return (Picture){t->work->around + ((k * row + 1) * row + 1) * p->width, row};
}

/* zeros where the next block's inputs will come, if there is a next block */
static void clear_around(const Piece *t, size i) {
    const Plan *p = t->plan;
    if (i + 1 == p->depth) return;
    size row = padded(p, i + 1);
    memset(t->work->around, 0, t->n * row * row * p->width * sizeof(float));
}
