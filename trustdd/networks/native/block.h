/* A block behind its convolution: instance norm with scale and shift, ReLU, 2x2 average pooling. */

#pragma once

#include <math.h>

#include "vectors.h"

/* one image in one block */
typedef struct {
    size side, width;           /* of the convolution's outputs */
    float eps;
    const float *bias;          /* of the convolution, which is not added, [width] */
    const float *scale, *shift; /* the norm's, [width] */
    const float *outputs;       /* [side, side, width] */
    float *mean, *deviation;    /* of the outputs, [width]; one over the standard deviation */
    /* the way back */
    float *by_outputs;          /* gradient, [side, side, width]; may take the outputs' place */
    float *by_scale, *by_shift; /* gradients that are added to, [width] */
    /* along a direction */
    const float *scale_along, *shift_along; /* the direction's, [width] */
    const float *by_pooled;     /* gradient of what the block gives, [side/2, side/2, width] */
    float *along;               /* see `activate_along` and `deactivate_along` */
    float *slope;               /* of the deviation, over the deviation, [width] */
    float *by_scale_along, *by_shift_along; /* derivatives that are added to, or none */
} Norm;

/* what a block gives, or its gradient: [h, w, width], `row` pixels from one row to the next */
typedef struct {
    float *at;
    size row;
} Picture;

/* What is added to outputs that were multiplied by `factor`: the shift, without the mean. The mean
   takes the convolution's bias with it, but one that is not a number makes everything NaN. */
INLINE vec offset_of(Norm b, size c, vec middle, vec factor) {
    vec bias = load(b.bias + c);
    return load(b.shift + c) - middle * factor + (bias - bias);
}

/* pixel q of the four that are pooled to pixel y, x */
INLINE size pooled_from(size s, size y, size x, int q) {
    return (2 * y + q / 2) * s + 2 * x + q % 2;
}

/* The outputs, normalised, cut at zero and pooled. */
static void activate(Norm b, Picture to) {
    size s = b.side, width = b.width, pixels = s * s;
    for (size c = 0; c < width; c += LANES) {
        const float *from = b.outputs + c;
        vec sums[4] = {all(0), all(0), all(0), all(0)};
        size k = 0;
        for (; k + 4 <= pixels; k += 4) EACH(q, 4) sums[q] += load(from + (k + q) * width);
        for (; k < pixels; k++) sums[0] += load(from + k * width);
        vec middle = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (float)pixels;
        EACH(q, 4) sums[q] = all(0);
        for (k = 0; k + 4 <= pixels; k += 4) EACH(q, 4) {
            vec far = load(from + (k + q) * width) - middle;
            sums[q] += far * far;
        }
        for (; k < pixels; k++) {
            vec far = load(from + k * width) - middle;
            sums[0] += far * far;
        }
        vec spread = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (float)pixels + b.eps;
        for (int l = 0; l < LANES; l++) spread[l] = 1 / sqrtf(spread[l]);
        store(b.mean + c, middle);
        store(b.deviation + c, spread);
        vec factor = spread * load(b.scale + c), offset = offset_of(b, c, middle, factor);
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                vec sum = all(0);
                EACH(q, 4) {
                    vec value = load(from + pooled_from(s, y, x, q) * width) * factor + offset;
                    sum += where_active(value, value);
                }
                store(to.at + (y * to.row + x) * width + c, sum * 0.25f);
            }
    }
}

/* The way back: the gradient of what `activate` made -> that of the outputs. */
static void deactivate(Norm b, Picture by) {
    size s = b.side, width = b.width, even = s / 2 * 2;
    for (size c = 0; c < width; c += LANES) {
        const float *from = b.outputs + c;
        vec middle = load(b.mean + c), spread = load(b.deviation + c);
        vec factor = spread * load(b.scale + c), offset = offset_of(b, c, middle, factor);
        vec sum[2] = {all(0), all(0)}, dot[2] = {all(0), all(0)};
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                vec given = load(by.at + (y * by.row + x) * width + c) * 0.25f;
                EACH(q, 4) {
                    vec value = load(from + pooled_from(s, y, x, q) * width);
                    vec active = where_active(value * factor + offset, given);
                    sum[q % 2] += active;
                    dot[q % 2] += active * ((value - middle) * spread);
                }
            }
        vec total = sum[0] + sum[1], along = dot[0] + dot[1];
        store(b.by_shift + c, load(b.by_shift + c) + total);
        store(b.by_scale + c, load(b.by_scale + c) + along);
        total /= (float)(s * s), along /= (float)(s * s);
        for (size y = 0; y < s; y++)
            for (size x = 0; x < s; x++) {
                size own = (y * s + x) * width + c;
                vec value = load(b.outputs + own), given = all(0);
                if (y < even && x < even) {
                    vec whole = load(by.at + (y / 2 * by.row + x / 2) * width + c) * 0.25f;
                    given = where_active(value * factor + offset, whole);
                }
                store(b.by_outputs + own,
                      factor * (given - total - (value - middle) * spread * along));
            }
    }
}

/* Derivatives along the direction: `along` of the outputs -> of the normalised outputs, in their
   place; and of what the block gives. */
static void activate_along(Norm b, Picture to) {
    size s = b.side, width = b.width, pixels = s * s;
    for (size c = 0; c < width; c += LANES) {
        const float *from = b.outputs + c;
        float *along = b.along + c;
        vec middle = load(b.mean + c), spread = load(b.deviation + c);
        vec factor = spread * load(b.scale + c), offset = offset_of(b, c, middle, factor);
        vec sum[2] = {all(0), all(0)}, dot[2] = {all(0), all(0)};
        for (size k = 0; k < pixels; k++) {
            vec moved = load(along + k * width);
            sum[k % 2] += moved;
            dot[k % 2] += moved * ((load(from + k * width) - middle) * spread);
        }
        vec average = (sum[0] + sum[1]) / (float)pixels;
        vec own = -spread * ((dot[0] + dot[1]) / (float)pixels);
        store(b.slope + c, own);
        for (size k = 0; k < pixels; k++) {
            vec normal = (load(from + k * width) - middle) * spread;
            store(along + k * width, (load(along + k * width) - average) * spread + normal * own);
        }
        vec by_normal = load(b.scale + c), by_scale = load(b.scale_along + c);
        vec by_shift = load(b.shift_along + c);
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                vec total = all(0);
                EACH(q, 4) {
                    size at = pooled_from(s, y, x, q) * width;
                    vec value = load(from + at);
                    vec moved = load(along + at) * by_normal
                        + (value - middle) * spread * by_scale + by_shift;
                    total += where_active(value * factor + offset, moved);
                }
                store(to.at + (y * to.row + x) * width + c, total * 0.25f);
            }
    }
}

/* The way back, from the derivative `by` of `by_pooled`: that of the outputs' gradient takes the
   place of `along`. */
static void deactivate_along(Norm b, Picture by) {
    size s = b.side, width = b.width, half = s / 2;
    float share = 1.0f / (float)(s * s);
    for (size c = 0; c < width; c += LANES) {
        const float *from = b.outputs + c, *by_outputs = b.by_outputs + c;
        float *along = b.along + c;
        vec middle = load(b.mean + c), spread = load(b.deviation + c), own = load(b.slope + c);
        vec factor = spread * load(b.scale + c), offset = offset_of(b, c, middle, factor);
        vec extra = spread * load(b.scale_along + c);
        /* sums of: the gradient, its derivative, and their products */
        vec given = all(0), moved = all(0), given_normal = all(0), moved_normal = all(0);
        vec given_along = all(0);
        for (size y = 0; y < half; y++)
            for (size x = 0; x < half; x++) {
                vec whole = load(b.by_pooled + (y * half + x) * width + c) * 0.25f;
                vec change = load(by.at + (y * by.row + x) * width + c) * 0.25f;
                EACH(q, 4) {
                    size at = pooled_from(s, y, x, q) * width;
                    vec value = load(from + at), normal = (value - middle) * spread;
                    vec first = where_active(value * factor + offset, whole);
                    vec second = where_active(value * factor + offset, change);
                    given += first, moved += second;
                    given_normal += first * normal, moved_normal += second * normal;
                    given_along += first * load(along + at);
                }
            }
        vec both = moved_normal + given_along;
        if (b.by_scale_along) {
            store(b.by_scale_along + c, load(b.by_scale_along + c) + both);
            store(b.by_shift_along + c, load(b.by_shift_along + c) + moved);
        }
        vec constant = (factor * moved + extra * given) * share;
        vec by_normal = (factor * both + extra * given_normal) * share;
        vec by_moved = factor * given_normal * share;
        for (size y = 0; y < s; y++)
            for (size x = 0; x < s; x++) {
                size at = (y * s + x) * width;
                vec value = load(from + at), normal = (value - middle) * spread;
                vec first = all(0), second = all(0);
                if (y < 2 * half && x < 2 * half) {
                    vec test = value * factor + offset;
                    vec whole = load(b.by_pooled + (y / 2 * half + x / 2) * width + c) * 0.25f;
                    vec change = load(by.at + (y / 2 * by.row + x / 2) * width + c) * 0.25f;
                    first = where_active(test, whole), second = where_active(test, change);
                }
                store(along + at, factor * second + extra * first - constant
                      + own * load(by_outputs + at) - by_moved * load(along + at)
                      - by_normal * normal);
            }
    }
}
