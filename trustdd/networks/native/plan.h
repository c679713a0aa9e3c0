/* The sizes of a network, and those that follow from them. */

#pragma once

#include "vectors.h"

/* products a tile consists of: 6 by 6 */
#define POINTS 36
#define MOST_BLOCKS 16

/* Images [channels, image, image], a first convolution with `padding`, `depth` blocks of `width`
   channels; `bf16` multiplies in bfloat16, `eps` is the norms'. */
typedef struct {
    size channels, image, padding, width, depth, classes, bf16;
    float eps;
} Plan;

/* height = width of block i's convolution */
INLINE size side(const Plan *p, size i) { return (p->image + 2 * (p->padding - 1)) >> i; }

/* numbers of block i's outputs, of one image */
INLINE size picture(const Plan *p, size i) { return side(p, i) * side(p, i) * p->width; }

/* of Winograd's transforms, a row of block i >= 1 */
INLINE size tiles(const Plan *p, size i) { return (side(p, i) + 3) / 4; }

/* the same, of n images */
INLINE size tiles_of(const Plan *p, size i, size n) { return n * tiles(p, i) * tiles(p, i); }

/* height = width of the inputs of block i >= 1, with the zeros around them */
INLINE size padded(const Plan *p, size i) { return 4 * tiles(p, i) + 2; }

/* numbers of an image, and of the part of it that one output of the first convolution sees */
INLINE size cells(const Plan *p) { return p->channels * p->image * p->image; }
INLINE size taps(const Plan *p) { return 9 * p->channels; }

/* in whole vectors */
INLINE size taps_wide(const Plan *p) { return (taps(p) + 15) / 16 * 16; }

/* what the linear layer reads, of one image */
INLINE size features(const Plan *p) { return picture(p, p->depth); }

/* tiles of a piece in block i, even since bfloat16 numbers go in pairs */
INLINE size many(const Plan *p, size i, size n) {
    size t = tiles_of(p, i, n);
    return t + t % 2;
}

/* from one point's numbers to the next's: off the power of two, so that caches keep both */
INLINE size stride(const Plan *p, size i, size n) { return many(p, i, n) * p->width + 16; }

/* words of a row of channels: two bfloat16 numbers make one, see products.h */
INLINE size words(const Plan *p) { return p->bf16 ? p->width / 2 : p->width; }

/* columns of a panel: as many accumulators as there are registers for */
INLINE size panel(size width) {
    if (LANES == 16 && width % 64 == 0) return 64;
    if (LANES == 16 && width % 32 == 0) return 32;
    return 16;
}

/* where row k, column j lies in a matrix [depth, width] in panels of columns */
INLINE size in_panels(size width, size depth, size k, size j) {
    size w = panel(width);
    return j / w * depth * w + k * w + j % w;
}
