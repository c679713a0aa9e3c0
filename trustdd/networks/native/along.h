/* The derivative of a piece's gradients along a direction of the parameters, after `backward`. */

#pragma once

#include "passes.h"

/* derivative of the first convolution's outputs, of image k */
static void convolve_first_along(const Piece *t, size k) {
    const Plan *p = t->plan;
    COUNT(t->work, PRODUCTS,
          times(0, side(p, 0) * side(p, 0), p->width, taps(p), patches_of(t, k), t->more->first,
                t->work->along[0] + k * picture(p, 0)));
}

/* of block i's: of the inputs that lie around, with the weight, and the other way round */
static void convolve_along(const Piece *t, size i) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size width = p->width, square = width * width, jump = stride(p, i, t->n);
    size count = many(p, i, t->n);
    COUNT(w, TILES, transform_inputs(p, i, t->n, w->around, w->inputs_along[i]));
    for (size q = 0; q < POINTS; q++) {
        float *to = w->products + q * jump;
        COUNT(w, PRODUCTS, times(0, count, width, width, w->inputs_along[i] + q * jump,
                                 t->ready->forward[i] + q * square, to));
        COUNT(w, PRODUCTS, add_times(count, width, width, w->inputs[i] + q * jump,
                                     t->more->forward[i] + q * square, to));
    }
    COUNT(w, TILES, transform_outputs(p, i, t->n, w->products, w->along[i]));
}

static void forward_along(const Piece *t) {
    const Work *w = t->work;
    for (size i = 0; i < t->plan->depth; i++) {
        if (i > 0) convolve_along(t, i);
        clear_around(t, i);
        for (size k = 0; k < t->n; k++) {
            if (i == 0) convolve_first_along(t, k);
            COUNT(w, NORMS, activate_along(norm_of(t, i, k), given_by(t, i, k, w->embedded_along)));
        }
    }
}

/* Image k's softmax to `shares`, the derivative of its logits to `changes`; returns the mean of
   these under the shares. */
static float logits_along(const Piece *t, size k) {
    const Plan *p = t->plan;
    size d = features(p), classes = p->classes;
    const float *own = t->work->embedded + k * d, *moved = t->work->embedded_along + k * d;
    const float *out = t->logits + k * classes;
    float *shares = t->shares, *changes = t->changes;
    float most = -INFINITY, total = 0, middle = 0;
    for (size j = 0; j < classes; j++) most = out[j] > most ? out[j] : most;
    for (size j = 0; j < classes; j++) total += shares[j] = expf(out[j] - most);
    for (size j = 0; j < classes; j++) {
        const float *row = t->ready->linear + j * d, *change = t->more->linear + j * d;
        vec sum = all(0);
        for (size f = 0; f < d; f += LANES)
            sum += load(moved + f) * load(row + f) + load(own + f) * load(change + f);
        changes[j] = linear_bias_of(p, t->direction)[j];
        for (int l = 0; l < LANES; l++) changes[j] += sum[l];
        shares[j] /= total;
        middle += shares[j] * changes[j];
    }
    return middle;
}

/* Derivatives of the gradients of the linear layer and of the features: the latter take the place
   of the gradient, which is not needed any more. */
static void classify_along(const Piece *t) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size d = features(p), classes = p->classes;
    for (size k = 0; k < t->n; k++) {
        const float *own = w->embedded + k * d, *moved = w->embedded_along + k * d;
        const float *by = w->by_logits + k * classes;
        float *back = w->by_embedded + k * d, middle = logits_along(t, k);
        memset(back, 0, d * sizeof(float));
        for (size j = 0; j < classes; j++) {
            float change = t->shares[j] * (t->changes[j] - middle) * t->weights[k];
            const float *row = t->ready->linear + j * d, *other = t->more->linear + j * d;
            for (size f = 0; f < d; f += LANES)
                store(back + f, load(back + f) + change * load(row + f) + by[j] * load(other + f));
            if (!t->sums_along) continue;
            t->sums_along->bias[j] += change;
            float *sum = t->sums_along->linear + j * d;
            for (size f = 0; f < d; f += LANES)
                store(sum + f, load(sum + f) + change * load(own + f) + by[j] * load(moved + f));
        }
    }
}

/* an image's gradient from that of its patches, whose rows are `wide` */
static void paste(const Plan *p, const float *patches, size wide, float *image) {
    size s = side(p, 0), have = p->image;
    memset(image, 0, cells(p) * sizeof(float));
    for (size y = 0; y < s; y++)
        for (size x = 0; x < s; x++, patches += wide)
            for (size k = 0; k < taps(p); k++) {
                size row = y - p->padding + k / 3 % 3, column = x - p->padding + k % 3;
                if (row >= 0 && row < have && column >= 0 && column < have)
                    image[(k / 9 * have + row) * have + column] += patches[k];
            }
}

/* derivative of image k's own gradient, and of the first weight's */
static void convolve_first_back_along(const Piece *t, size k) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size pixels = side(p, 0) * side(p, 0), wide = taps_wide(p), at = k * picture(p, 0);
    COUNT(w, PRODUCTS, times(0, pixels, wide, p->width, w->along[0] + at, t->ready->first_back,
                             w->by_patches));
    COUNT(w, PRODUCTS, add_times(pixels, wide, p->width, w->by_outputs[0] + at,
                                 t->more->first_back, w->by_patches));
    COUNT(w, TILES, paste(p, w->by_patches, wide, t->by_images + k * cells(p)));
    if (t->sums_along) add_by_first(t, k, w->along[0] + at, t->sums_along->first);
}

/* of block i's weight, and of its inputs around */
static void convolve_back_along(const Piece *t, size i) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size width = p->width, square = width * width, jump = stride(p, i, t->n);
    size count = tiles_of(p, i, t->n), rows = many(p, i, t->n);
    COUNT(w, TILES, untransform_outputs(p, i, t->n, w->by_outputs[i], w->products));
    COUNT(w, TILES, untransform_outputs(p, i, t->n, w->along[i], w->thirds));
    for (size q = 0; q < POINTS; q++) {
        const float *given = w->products + q * jump, *moved = w->thirds + q * jump;
        float *to = w->others + q * jump;
        COUNT(w, PRODUCTS,
              times(0, rows, width, width, moved, t->ready->backward[i] + q * square, to));
        COUNT(w, PRODUCTS,
              add_times(rows, width, width, given, t->more->backward[i] + q * square, to));
        if (!t->sums_along) continue;
        float *sum = t->sums_along->weight[i] + q * square;
        COUNT(w, PRODUCTS, add_outer(0, width, width, count, w->inputs[i] + q * jump, moved, sum));
        COUNT(w, PRODUCTS,
              add_outer(0, width, width, count, w->inputs_along[i] + q * jump, given, sum));
    }
    COUNT(w, TILES, untransform_inputs(p, i, t->n, w->others, w->around));
}

static void backward_along(const Piece *t) {
    const Work *w = t->work;
    for (size i = t->plan->depth - 1; i >= 0; i--) {
        for (size k = 0; k < t->n; k++) {
            COUNT(w, NORMS, deactivate_along(norm_of(t, i, k), given_by(t, i, k, w->by_embedded)));
            if (i == 0) convolve_first_back_along(t, k);
        }
        if (i > 0) convolve_back_along(t, i);
    }
}

/* of the images' gradient into `by_images`, and of the parameters' added to `sums_along` */
static void along(const Piece *t) {
    forward_along(t);
    classify_along(t);
    backward_along(t);
}
