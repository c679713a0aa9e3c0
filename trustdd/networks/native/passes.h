/* The forward and the backward pass of a piece. */

#pragma once

#include "piece.h"
#include "products.h"
#include "tiles.h"

/* pixels at a time whose product with patches is added up: few enough for the cache */
#define PIXELS 256

/* an image's patches, [pixels, taps] */
static void cut(const Plan *p, const float *image, float *to) {
    size s = side(p, 0), n = taps(p), have = p->image;
    for (size y = 0; y < s; y++)
        for (size x = 0; x < s; x++, to += n) {
            size top = y - p->padding, left = x - p->padding;
            int inside = top >= 0 && left >= 0 && top + 3 <= have && left + 3 <= have;
            for (size c = 0; c < p->channels; c++)
                for (size a = 0; a < 3; a++) {
                    const float *from = image + (c * have + top + a) * have + left;
                    float *own = to + 9 * c + 3 * a;
                    if (inside) {
                        own[0] = from[0], own[1] = from[1], own[2] = from[2];
                        continue;
                    }
                    for (size b = 0; b < 3; b++) {
                        size row = top + a, column = left + b;
                        int seen = row >= 0 && row < have && column >= 0 && column < have;
                        own[b] = seen ? from[b] : 0;
                    }
                }
        }
}

/* image k's patches; of a piece that only goes forward, one image's are kept */
INLINE float *patches_of(const Piece *t, size k) {
    size pixels = side(t->plan, 0) * side(t->plan, 0);
    return t->work->patches + (t->mode > FORWARD ? k : 0) * pixels * taps(t->plan);
}

/* the first convolution, of image k */
static void convolve_first(const Piece *t, size k) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    float *own = patches_of(t, k);
    COUNT(w, TILES, cut(p, t->images + k * cells(p), own));
    COUNT(w, PRODUCTS, times(0, side(p, 0) * side(p, 0), p->width, taps(p), own, t->ready->first,
                             w->outputs[0] + k * picture(p, 0)));
}

/* block i's convolution, of what lies around with zeros */
static void convolve(const Piece *t, size i) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size width = p->width, jump = stride(p, i, t->n);
    COUNT(w, TILES, transform_inputs(p, i, t->n, w->around, w->inputs[i]));
    for (size q = 0; q < POINTS; q++)
        COUNT(w, PRODUCTS, times(p->bf16, many(p, i, t->n), width, words(p), w->inputs[i] + q * jump,
                                 t->ready->forward[i] + q * width * width, w->products + q * jump));
    COUNT(w, TILES, transform_outputs(p, i, t->n, w->products, w->outputs[i]));
}

static void forward(const Piece *t) {
    const Work *w = t->work;
    for (size i = 0; i < t->plan->depth; i++) {
        if (i > 0) convolve(t, i);
        clear_around(t, i);
        for (size k = 0; k < t->n; k++) {
            if (i == 0) convolve_first(t, k);
            COUNT(w, NORMS, activate(norm_of(t, i, k), given_by(t, i, k, w->embedded)));
        }
    }
}

/* logits, and on the way back their gradient and the features' */
static void classify(const Piece *t) {
    const Plan *p = t->plan;
    const Sums *sums = t->sums;
    size d = features(p), classes = p->classes;
    for (size k = 0; k < t->n; k++) {
        const float *own = t->work->embedded + k * d;
        float *out = t->logits + k * classes, most = -INFINITY, total = 0;
        for (size j = 0; j < classes; j++) {
            const float *row = t->ready->linear + j * d;
            vec sum = all(0);
            for (size f = 0; f < d; f += LANES) sum += load(own + f) * load(row + f);
            float value = 0;
            for (int l = 0; l < LANES; l++) value += sum[l];
            out[j] = value + linear_bias_of(p, t->parameters)[j];
            if (out[j] > most) most = out[j];
        }
        if (!sums) continue;
        float *by = t->work->by_logits + k * classes, *back = t->work->by_embedded + k * d;
        for (size j = 0; j < classes; j++) total += by[j] = expf(out[j] - most);
        memset(back, 0, d * sizeof(float));
        for (size j = 0; j < classes; j++) {
            by[j] = (by[j] / total - t->targets[k * classes + j]) * t->weights[k];
            sums->bias[j] += by[j];
            const float *row = t->ready->linear + j * d;
            float *sum = sums->linear + j * d;
            for (size f = 0; f < d; f += LANES) {
                store(sum + f, load(sum + f) + by[j] * load(own + f));
                store(back + f, load(back + f) + by[j] * load(row + f));
            }
        }
    }
}

/* the gradient of what block i gives of image k, without what lies around it */
static void keep_by_pooled(const Piece *t, size i, size k, Picture by) {
    size half = side(t->plan, i + 1), width = t->plan->width;
    float *to = t->work->by_pooled[i] + k * picture(t->plan, i + 1);
    for (size y = 0; y < half; y++)
        memcpy(to + y * half * width, by.at + y * by.row * width, half * width * sizeof(float));
}

/* the first weight's gradient, from image k's patches and the gradient of its outputs */
static void add_by_first(const Piece *t, size k, const float *by_outputs, float *sum) {
    const Plan *p = t->plan;
    size pixels = side(p, 0) * side(p, 0);
    for (size q = 0; q < pixels; q += PIXELS)
        COUNT(t->work, PRODUCTS,
              add_outer(0, taps(p), p->width, least(PIXELS, pixels - q),
                        patches_of(t, k) + q * taps(p), by_outputs + q * p->width, sum));
}

/* block i's convolution on the way back: its weight's gradient, and the inputs' around */
static void convolve_back(const Piece *t, size i) {
    const Plan *p = t->plan;
    const Work *w = t->work;
    size width = p->width, square = width * width, jump = stride(p, i, t->n);
    COUNT(w, TILES, untransform_outputs(p, i, t->n, w->by_outputs[i], w->products));
    size count = many(p, i, t->n);
    /* pairs of tiles lie behind pairs of channels, see `keep` */
    size pairs = p->bf16 ? count * words(p) : 0;
    size depth = p->bf16 ? count / 2 : tiles_of(p, i, t->n);
    for (size q = 0; q < POINTS; q++) {
        const float *a = w->inputs[i] + q * jump, *b = w->products + q * jump;
        COUNT(w, PRODUCTS, add_outer(p->bf16, width, width, depth, a + pairs, b + pairs,
                                     t->sums->weight[i] + q * square));
        COUNT(w, PRODUCTS, times(p->bf16, count, width, words(p), b,
                                 t->ready->backward[i] + q * square, w->others + q * jump));
    }
    COUNT(w, TILES, untransform_inputs(p, i, t->n, w->others, w->around));
}

static void backward(const Piece *t) {
    const Work *w = t->work;
    for (size i = t->plan->depth - 1; i >= 0; i--) {
        for (size k = 0; k < t->n; k++) {
            Norm here = norm_of(t, i, k);
            Picture by = given_by(t, i, k, w->by_embedded);
            if (t->mode == ALONG) keep_by_pooled(t, i, k, by);
            COUNT(w, NORMS, deactivate(here, by));
            if (i == 0) add_by_first(t, k, here.by_outputs, t->sums->first);
        }
        if (i > 0) convolve_back(t, i);
    }
}
