/* What is kept in the room that Python gives: where each buffer of a pass lies in it. */

#pragma once

#include <time.h>

#include "plan.h"

/* the next `count` numbers of a buffer, on a cache line of their own; none where it is only counted */
INLINE float *take(float *base, size *used, size count) {
    float *found = base ? base + *used : 0;
    *used += (count + 15) / 16 * 16;
    return found;
}

/* what parameters.h makes of the parameters, or of a direction */
typedef struct {
    float *first;                  /* [taps, width], in panels of columns */
    float *first_back;             /* [width, taps in whole vectors], likewise */
    float *forward[MOST_BLOCKS];   /* per block: 36 of [width in, width out], likewise */
    float *backward[MOST_BLOCKS];  /* 36 of [width out, width in], likewise */
    float *linear;                 /* [classes, features], channels last */
} Prepared;

static size prepared_at(const Plan *p, float *base, Prepared *at) {
    size used = 0, square = POINTS * p->width * p->width;
    at->first = take(base, &used, taps(p) * p->width);
    at->first_back = take(base, &used, taps_wide(p) * p->width);
    for (size i = 1; i < p->depth; i++) {
        at->forward[i] = take(base, &used, square);
        at->backward[i] = take(base, &used, square);
    }
    at->linear = take(base, &used, p->classes * features(p));
    return used;
}

/* what a lane adds up over its pieces */
typedef struct {
    float *first;                /* [taps, width] */
    float *weight[MOST_BLOCKS];  /* per block: 36 of [width in, width out] */
    float *scale[MOST_BLOCKS], *shift[MOST_BLOCKS];
    float *linear, *bias;
} Sums;

static size sums_at(const Plan *p, float *base, Sums *at) {
    size used = 0;
    at->first = take(base, &used, taps(p) * p->width);
    for (size i = 1; i < p->depth; i++)
        at->weight[i] = take(base, &used, POINTS * p->width * p->width);
    for (size i = 0; i < p->depth; i++) {
        at->scale[i] = take(base, &used, p->width);
        at->shift[i] = take(base, &used, p->width);
    }
    at->linear = take(base, &used, p->classes * features(p));
    at->bias = take(base, &used, p->classes);
    return used;
}

/* how far a piece goes: forward, back, and along a direction */
enum { FORWARD, BACK, ALONG };

/* what a thread's seconds go into; the rest is not counted */
enum { PRODUCTS, TILES, NORMS, KINDS };

/* a piece's numbers */
typedef struct {
    double *spent;                   /* [KINDS], where seconds are to be counted */
    float *patches;                  /* [n, pixels, taps] */
    float *outputs[MOST_BLOCKS];     /* of block i's convolution, [n, h, w, width] */
    float *by_outputs[MOST_BLOCKS];  /* their gradient; in their place, but where they are wanted */
    float *mean[MOST_BLOCKS];        /* [n, width] */
    float *deviation[MOST_BLOCKS];   /* one over the standard deviation, [n, width] */
    float *inputs[MOST_BLOCKS];      /* block i's, transformed: 36 of [tiles, width] */
    float *around;                   /* inputs with zeros around them, or their gradient */
    float *products;                 /* 36 of [tiles, width] */
    float *others;                   /* likewise */
    float *embedded;                 /* [n, features] */
    float *by_embedded;
    float *by_logits;                /* [n, classes] */
    /* for the derivatives along a direction */
    float *by_pooled[MOST_BLOCKS];   /* gradient of what block i gives, [n, h/2, w/2, width] */
    float *along[MOST_BLOCKS];       /* of the normalised outputs; then of the outputs' gradient */
    float *slope[MOST_BLOCKS];       /* of the deviation, over the deviation, [n, width] */
    float *inputs_along[MOST_BLOCKS];
    float *thirds;                   /* 36 of [tiles, width] */
    float *embedded_along;
    float *by_patches;               /* an image's, [pixels, taps in whole vectors] */
} Work;

static size work_at(const Plan *p, float *base, size n, int mode, Work *at) {
    size used = 0, around = 0, square = 0, width = p->width, pixels = side(p, 0) * side(p, 0);
    at->patches = take(base, &used, (mode > FORWARD ? n : 1) * pixels * taps(p));
    for (size i = 0; i < p->depth; i++) {
        at->outputs[i] = take(base, &used, n * picture(p, i));
        at->by_outputs[i] = mode == ALONG ? take(base, &used, n * picture(p, i)) : at->outputs[i];
        at->mean[i] = take(base, &used, n * width);
        at->deviation[i] = take(base, &used, n * width);
        if (mode == ALONG) {
            at->by_pooled[i] = take(base, &used, n * picture(p, i + 1));
            at->along[i] = take(base, &used, n * picture(p, i));
            at->slope[i] = take(base, &used, n * width);
        }
        if (i == 0) continue;
        at->inputs[i] = take(base, &used, POINTS * stride(p, i, n));
        if (mode == ALONG) at->inputs_along[i] = take(base, &used, POINTS * stride(p, i, n));
        size grown = n * padded(p, i) * padded(p, i) * width;
        if (grown > around) around = grown;
        if (POINTS * stride(p, i, n) > square) square = POINTS * stride(p, i, n);
    }
    at->around = take(base, &used, around);
    at->products = take(base, &used, square);
    at->others = take(base, &used, mode > FORWARD ? square : 0);
    at->embedded = take(base, &used, n * features(p));
    at->by_embedded = take(base, &used, n * features(p));
    at->by_logits = take(base, &used, n * p->classes);
    at->thirds = take(base, &used, mode == ALONG ? square : 0);
    at->embedded_along = take(base, &used, mode == ALONG ? n * features(p) : 0);
    at->by_patches = take(base, &used, mode == ALONG ? pixels * taps_wide(p) : 0);
    return used;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* do something, and count its seconds if that is asked for */
#define COUNT(w, kind, what) \
    do { \
        double begun = (w)->spent ? seconds() : 0; \
        what; \
        if ((w)->spent) (w)->spent[kind] += seconds() - begun; \
    } while (0)
