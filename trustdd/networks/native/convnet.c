/* A ConvNet's gradients on a CPU: threads take pieces of a batch, small enough for a core's cache.

   Blocks of 3x3 convolution, instance norm with scale and shift, ReLU and 2x2 average pooling, and
   a linear layer behind them: trustdd.networks.ConvNet. Activations lie channels last, so that
   every operation but the products works on whole vectors of channels.

   The first convolution is one product with the image's patches. The others are Winograd's
   F(4x4, 3x3) (Lavin and Gray 2016): tiles of 6x6 inputs are transformed, multiplied point by point
   with the transformed weights, 36 products with a quarter of the multiplications, and transformed
   back to 4x4 outputs. With d, g, y for a tile, its weights and its outputs,

       y = At (G g Gt . Bt d B) A,

   the gradients are the transposes: by_g = Gt ((A by_y At) . (Bt d B)) G, summed over tiles before
   the outer transform, and by_d = B ((G g Gt) . (A by_y At)) Bt, summed where tiles overlap.

   The derivative of these gradients along a direction of the parameters (Pearlmutter's R operator)
   goes through the same operations a second time: `along`, of trustdd.networks.passes.

   A convolution's bias is left out: the norm behind it takes it out again.

   With bf16, the 36 products multiply bfloat16 numbers and add them up in float32; everything else
   is float32. Where the instructions are missing, HAS_BF16 is 0.
*/

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#define HAS_BF16 1
#include <immintrin.h>
#else
#define HAS_BF16 0
#endif

#define INLINE static inline __attribute__((always_inline))
#define POINTS 36

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t size;

typedef struct {
    size channels, image, padding, width, depth, classes, bf16;
    float eps;
} Plan;

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec where_positive(vec test, vec value) { return (vec)((ivec)value & (test > 0)); }

/* ---------------------------------------------------------------- sizes */

/* height = width of block i's convolution */
INLINE size side(const Plan *p, size i) { return (p->image + 2 * (p->padding - 1)) >> i; }
INLINE size tiles(const Plan *p, size i) { return (side(p, i) + 3) / 4; }
/* of the inputs of block i >= 1, with the zeros around them */
INLINE size padded(const Plan *p, size i) { return 4 * tiles(p, i) + 2; }
INLINE size taps(const Plan *p) { return 9 * p->channels; }
/* in whole vectors */
INLINE size taps_wide(const Plan *p) { return (taps(p) + 15) / 16 * 16; }
INLINE size features(const Plan *p) {
    size s = side(p, p->depth);
    return s * s * p->width;
}
/* tiles of a piece in block i, even since bfloat16 numbers go in pairs */
INLINE size many(const Plan *p, size i, size n) {
    size t = n * tiles(p, i) * tiles(p, i);
    return t + t % 2;
}
/* from one point's numbers to the next's: off the power of two, so that caches keep both */
INLINE size stride(const Plan *p, size i, size n) { return many(p, i, n) * p->width + 16; }
/* of a panel of columns: as many accumulators as there are registers for */
INLINE size panel(size width) {
    if (LANES == 16 && width % 64 == 0) return 64;
    if (LANES == 16 && width % 32 == 0) return 32;
    return 16;
}

/* the next `count` numbers of a buffer, on a cache line of their own */
INLINE float *take(float *base, size *used, size count) {
    float *found = base + *used;
    *used += (count + 15) / 16 * 16;
    return found;
}

/* what `trustdd_prepare` makes of the parameters */
typedef struct {
    float *first;          /* [taps, width], in panels of columns */
    float *first_back;     /* [width, taps in whole vectors], likewise */
    float *forward[16];    /* per block: 36 of [width in, width out], likewise */
    float *backward[16];   /* 36 of [width out, width in], likewise */
    float *linear;         /* [classes, features], channels last */
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
    float *first;       /* [taps, width] */
    float *weight[16];  /* per block: 36 of [width in, width out] */
    float *scale[16], *shift[16];
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
    double *spent;                    /* [KINDS], where seconds are to be counted */
    float *patches;                   /* [n, pixels, taps] */
    float *outputs[16];               /* of block i's convolution, [n, h, w, width] */
    float *by_outputs[16];            /* their gradient; in their place, but where they are wanted */
    float *mean[16], *deviation[16];  /* [n, width]; one over the standard deviation */
    float *inputs[16];                /* block i's, transformed: 36 of [tiles, width] */
    float *around;                    /* inputs with zeros around them, or their gradient */
    float *products;                  /* 36 of [tiles, width] */
    float *others;                    /* likewise */
    float *embedded;                  /* [n, features] */
    float *by_embedded;
    float *by_logits;                 /* [n, classes] */
    /* for the derivatives along a direction */
    float *by_pooled[16];             /* gradient of what block i gives, [n, h/2, w/2, width] */
    float *along[16];                 /* of the normalised outputs; then of the outputs' gradient */
    float *slope[16];                 /* of the deviation, over the deviation, [n, width] */
    float *inputs_along[16];
    float *thirds;                    /* 36 of [tiles, width] */
    float *embedded_along;
    float *by_patches;                /* an image's, [pixels, taps in whole vectors] */
} Work;

static size work_at(const Plan *p, float *base, size n, int mode, Work *at) {
    size used = 0, around = 0, square = 0, width = p->width, pixels = side(p, 0) * side(p, 0);
    at->patches = take(base, &used, (mode > FORWARD ? n : 1) * pixels * taps(p));
    for (size i = 0; i < p->depth; i++) {
        size picture = side(p, i) * side(p, i) * width, pooled = side(p, i + 1) * side(p, i + 1);
        at->outputs[i] = take(base, &used, n * picture);
        at->by_outputs[i] = mode == ALONG ? take(base, &used, n * picture) : at->outputs[i];
        at->mean[i] = take(base, &used, n * width);
        at->deviation[i] = take(base, &used, n * width);
        if (mode == ALONG) {
            at->by_pooled[i] = take(base, &used, n * pooled * width);
            at->along[i] = take(base, &used, n * picture);
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

/* ---------------------------------------------------------------- products */

/* Matrices consist of words: of floats or, where `low` is set, of two bfloat16 numbers that follow
   each other along `depth`. Strides and `depth` count words. */

INLINE vec add_product(const int low, vec sum, float x, vec row) {
#if HAS_BF16
    if (low)
        return (vec)_mm512_dpbf16_ps(
            (__m512)sum, (__m512bh)_mm512_set1_ps(x), (__m512bh)(__m512)row);
#endif
    (void)low;
    return sum + x * row;
}

/* c[i, j] = or += sum over k of a[i, k] b[k, j], for `mr` rows and `nv` vectors of columns, held in
   registers; a's rows and columns may lie any distance apart */
INLINE void corner(
    const int low, const int mr, const int nv, const int add, size depth, const float *restrict a, size by_row,
    size by_column, const float *restrict b, size b_row, float *restrict c, size c_row) {
    vec sum[14][4];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) sum[i][j] = add ? load(c + i * c_row + j * LANES) : all(0);
    for (size k = 0; k < depth; k++) {
        vec row[4];
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) row[j] = load(b + k * b_row + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            float x = a[i * by_row + k * by_column];
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) sum[i][j] = add_product(low, sum[i][j], x, row[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) store(c + i * c_row + j * LANES, sum[i][j]);
}

INLINE void columns(
    const int low, const int mr, const int nv, const int add, size rows, size depth,
    const float *a, size by_row, size by_column, const float *b, size b_row, float *c,
    size c_row) {
    size i = 0;
#define STEP(r) \
    for (; i + r <= rows; i += r) \
        corner( \
            low, r, nv, add, depth, a + i * by_row, by_row, by_column, b, b_row, c + i * c_row, \
            c_row)
    STEP(mr);
    STEP(3);
    STEP(2);
    STEP(1);
#undef STEP
}

/* A product with a matrix of `width` columns, whose panels lie `b_panel` apart. */
INLINE void product(
    const int low, const int add, size rows, size width, size depth, const float *a, size by_row,
    size by_column, const float *b, size b_row, size b_panel, float *c, size c_row) {
    size p = panel(width);
    for (size j = 0; j < width / p; j++, b += b_panel, c += p) {
#if LANES == 16
        if (p == 64)
            columns(low, 6, 4, add, rows, depth, a, by_row, by_column, b, b_row, c, c_row);
        else if (p == 32)
            columns(low, 12, 2, add, rows, depth, a, by_row, by_column, b, b_row, c, c_row);
        else
            columns(low, 12, 1, add, rows, depth, a, by_row, by_column, b, b_row, c, c_row);
#elif LANES == 8
        columns(low, 6, 2, add, rows, depth, a, by_row, by_column, b, b_row, c, c_row);
#else
        columns(low, 6, 4, add, rows, depth, a, by_row, by_column, b, b_row, c, c_row);
#endif
    }
}

/* a as [rows, depth], b in panels */
static void times(
    int low, size rows, size width, size depth, const float *a, const float *b, float *c) {
    size p = panel(width);
    if (low) product(1, 0, rows, width, depth, a, depth, 1, b, p, depth * p, c, width);
    else product(0, 0, rows, width, depth, a, depth, 1, b, p, depth * p, c, width);
}

/* c += the same, of floats */
static void add_times(
    size rows, size width, size depth, const float *a, const float *b, float *c) {
    size p = panel(width);
    product(0, 1, rows, width, depth, a, depth, 1, b, p, depth * p, c, width);
}

/* c += a transposed times b: a as [depth, rows], b as [depth, width] */
static void add_outer(
    int low, size rows, size width, size depth, const float *a, const float *b, float *c) {
    size p = panel(width);
    if (low) product(1, 1, rows, width, depth, a, 1, rows, b, width, p, c, width);
    else product(0, 1, rows, width, depth, a, 1, rows, b, width, p, c, width);
}

/* ---------------------------------------------------------------- bfloat16 */

#if HAS_BF16

/* two vectors as bfloat16, one behind the other */
INLINE __m512i beside(vec first, vec second) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/* two vectors as bfloat16, number by number: the first's in the lower halves */
INLINE __m512i paired(vec first, vec second) {
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, beside(first, second));
}

#endif

/* ---------------------------------------------------------------- seconds */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* do something, and count its seconds if that is asked for */
#define COUNT(kind, what) \
    do { \
        double begun = w->spent ? seconds() : 0; \
        what; \
        if (w->spent) w->spent[kind] += seconds() - begun; \
    } while (0)

/* ---------------------------------------------------------------- Winograd's transforms */

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

#define EACH(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < n; i++)

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

/* where a tile lies */
typedef struct {
    size image, row, column;
} Place;

INLINE Place place(const Plan *p, size i, size t) {
    size s = tiles(p, i);
    return (Place){t / (s * s), t / s % s, t % s};
}

/* Transformed tiles t and t + 1, of one vector of channels, to where the products read them: as
   float32 [36, tiles, width]; as bfloat16 behind each other, [36, tiles, width], and behind that in
   pairs of tiles, [36, tiles / 2, width, 2]. */
INLINE void keep(const Plan *p, size i, size n, size t, size c, const vec *first, const vec *second,
                 int two, float *to) {
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
    size s = padded(p, i), width = p->width, count = n * tiles(p, i) * tiles(p, i);
    for (size t = 0; t < count; t += 2)
        for (size c = 0; c < width; c += LANES) {
            vec d[2][POINTS];
            for (int q = 0; q < 2; q++) {
                if (t + q == count) {
                    memset(d[q], 0, sizeof d[q]);
                    continue;
                }
                Place at = place(p, i, t + q);
                const float *from =
                    around + ((at.image * s + 4 * at.row) * s + 4 * at.column) * width + c;
                EACH(y, 6) EACH(x, 6) d[q][6 * y + x] = load(from + (y * s + x) * width);
                input_2d(d[q]);
            }
            keep(p, i, n, t, c, d[0], d[1], t + 1 < count, inputs);
        }
}

/* the gradient of `inputs` -> that of the inputs with zeros around them */
static void untransform_inputs(
    const Plan *p, size i, size n, const float *by_inputs, float *around) {
    size s = padded(p, i), width = p->width, jump = stride(p, i, n);
    size count = n * tiles(p, i) * tiles(p, i);
    memset(around, 0, n * s * s * width * sizeof(float));
    for (size t = 0; t < count; t++) {
        Place at = place(p, i, t);
        float *to = around + ((at.image * s + 4 * at.row) * s + 4 * at.column) * width;
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

INLINE size least(size a, size b) { return a < b ? a : b; }

static void transform_outputs(
    const Plan *p, size i, size n, const float *products, float *outputs) {
    size s = side(p, i), width = p->width, jump = stride(p, i, n);
    size count = n * tiles(p, i) * tiles(p, i);
    for (size t = 0; t < count; t++) {
        Place at = place(p, i, t);
        size high = least(4, s - 4 * at.row), wide = least(4, s - 4 * at.column);
        float *to = outputs + ((at.image * s + 4 * at.row) * s + 4 * at.column) * width;
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
    size s = side(p, i), width = p->width, count = n * tiles(p, i) * tiles(p, i);
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
                const float *from =
                    by_outputs + ((at.image * s + 4 * at.row) * s + 4 * at.column) * width + c;
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
            keep(p, i, n, t, c, m[0], m[1], t + 1 < count, products);
        }
}

/* ---------------------------------------------------------------- weights */

INLINE size in_panels(size width, size depth, size k, size j) {
    size w = panel(width);
    return j / w * depth * w + k * w + j % w;
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

/* of rows `first` to `last` */
static void transform_weights(const Plan *p, size i, const float *weight, const Prepared *to,
                              size first, size last) {
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

/* ---------------------------------------------------------------- the passes */

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

/* One image's outputs [h, w, width], normalised, cut at zero and pooled; `to` is a picture of
   `row` pixels a row. */
static void activate(const Plan *p, size i, const float *outputs, const float *scale,
                     const float *shift, float *mean, float *deviation, float *to, size row) {
    size s = side(p, i), width = p->width, pixels = s * s;
    for (size c = 0; c < width; c += LANES) {
        const float *from = outputs + c;
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
        vec spread = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (float)pixels + p->eps;
        for (int l = 0; l < LANES; l++) spread[l] = 1 / sqrtf(spread[l]);
        store(mean + c, middle);
        store(deviation + c, spread);
        vec factor = spread * load(scale + c), offset = load(shift + c) - middle * factor;
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                const float *own = from + (2 * y * s + 2 * x) * width;
                vec sum = all(0);
                EACH(q, 4) {
                    vec value = load(own + (q / 2 * s + q % 2) * width) * factor + offset;
                    sum += where_positive(value, value);
                }
                store(to + (y * row + x) * width + c, sum * 0.25f);
            }
    }
}

/* The way back: one image's gradient of what `activate` made -> that of the outputs, which may take
   their place; adds to the gradients of scale and shift. */
static void deactivate(const Plan *p, size i, const float *outputs, const float *scale,
                       const float *shift, const float *mean, const float *deviation,
                       const float *by, size row, float *by_scale, float *by_shift,
                       float *by_outputs) {
    size s = side(p, i), width = p->width, even = s / 2 * 2;
    for (size c = 0; c < width; c += LANES) {
        const float *from = outputs + c;
        vec middle = load(mean + c), spread = load(deviation + c);
        vec factor = spread * load(scale + c), offset = load(shift + c) - middle * factor;
        vec sum[2] = {all(0), all(0)}, dot[2] = {all(0), all(0)};
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                const float *own = from + (2 * y * s + 2 * x) * width;
                vec given = load(by + (y * row + x) * width + c) * 0.25f;
                EACH(q, 4) {
                    vec value = load(own + (q / 2 * s + q % 2) * width);
                    vec active = where_positive(value * factor + offset, given);
                    sum[q % 2] += active;
                    dot[q % 2] += active * ((value - middle) * spread);
                }
            }
        vec total = sum[0] + sum[1], along = dot[0] + dot[1];
        store(by_shift + c, load(by_shift + c) + total);
        store(by_scale + c, load(by_scale + c) + along);
        total /= (float)(s * s), along /= (float)(s * s);
        for (size y = 0; y < s; y++)
            for (size x = 0; x < s; x++) {
                size own = (y * s + x) * width + c;
                vec value = load(outputs + own), given = all(0);
                if (y < even && x < even) {
                    vec whole = load(by + (y / 2 * row + x / 2) * width + c) * 0.25f;
                    given = where_positive(value * factor + offset, whole);
                }
                store(by_outputs + own,
                      factor * (given - total - (value - middle) * spread * along));
            }
    }
}

static void forward(const Plan *p, const float *const *parameters, const Prepared *ready, size n,
                    const float *images, int mode, const Work *w) {
    size width = p->width, words = p->bf16 ? width / 2 : width;
    for (size i = 0; i < p->depth; i++) {
        size s = side(p, i), picture = s * s * width, next = padded(p, i + 1), jump = stride(p, i, n);
        const float *scale = parameters[4 * i + 2], *shift = parameters[4 * i + 3];
        int last = i + 1 == p->depth;
        if (i > 0) {
            COUNT(TILES, transform_inputs(p, i, n, w->around, w->inputs[i]));
            for (size q = 0; q < POINTS; q++) {
                const float *a = w->inputs[i] + q * jump, *b = ready->forward[i] + q * width * width;
                COUNT(PRODUCTS, times(p->bf16, many(p, i, n), width, words, a, b,
                                      w->products + q * jump));
            }
            COUNT(TILES, transform_outputs(p, i, n, w->products, w->outputs[i]));
        }
        if (!last) memset(w->around, 0, n * next * next * width * sizeof(float));
        for (size k = 0; k < n; k++) {
            if (i == 0) {
                float *own = w->patches + (mode > FORWARD ? k : 0) * s * s * taps(p);
                COUNT(TILES, cut(p, images + k * p->channels * p->image * p->image, own));
                COUNT(PRODUCTS, times(0, s * s, width, taps(p), own, ready->first, w->outputs[0] + k * picture));
            }
            float *to = last ? w->embedded + k * features(p)
                             : w->around + ((k * next + 1) * next + 1) * width;
            COUNT(NORMS, activate(p, i, w->outputs[i] + k * picture, scale, shift, w->mean[i] + k * width,
                     w->deviation[i] + k * width, to, last ? s / 2 : next));
        }
    }
}

static void backward(const Plan *p, const float *const *parameters, const Prepared *ready, size n,
                     int mode, const Work *w, const Sums *sums) {
    size width = p->width;
    const float *by = w->by_embedded;
    size row = side(p, p->depth), picture = row * row * width;
    for (size i = p->depth - 1; i >= 0; i--) {
        size s = side(p, i), pixels = s * s, jump = stride(p, i, n), half = s / 2;
        for (size k = 0; k < n; k++) {
            float *outputs = w->by_outputs[i] + k * pixels * width;
            if (mode == ALONG)
                for (size y = 0; y < half; y++)
                    memcpy(w->by_pooled[i] + (k * half + y) * half * width,
                           by + k * picture + y * row * width, half * width * sizeof(float));
            COUNT(NORMS, deactivate(p, i, w->outputs[i] + k * pixels * width, parameters[4 * i + 2],
                       parameters[4 * i + 3], w->mean[i] + k * width, w->deviation[i] + k * width,
                       by + k * picture, row, sums->scale[i], sums->shift[i], outputs));
            /* a few pixels at a time, which stay in the cache */
            for (size q = 0; i == 0 && q < pixels; q += 256)
                COUNT(PRODUCTS, add_outer(0, taps(p), width, least(256, pixels - q),
                          w->patches + (k * pixels + q) * taps(p), outputs + q * width,
                          sums->first));
        }
        if (i == 0) break;
        COUNT(TILES, untransform_outputs(p, i, n, w->by_outputs[i], w->products));
        size count = many(p, i, n), words = p->bf16 ? width / 2 : width;
        /* pairs of tiles lie behind pairs of channels, see `keep` */
        size pairs = p->bf16 ? count * words : 0;
        size along = p->bf16 ? count / 2 : n * tiles(p, i) * tiles(p, i);
        for (size q = 0; q < POINTS; q++) {
            const float *a = w->inputs[i] + q * jump, *b = w->products + q * jump;
            const float *back = ready->backward[i] + q * width * width;
            float *sum = sums->weight[i] + q * width * width, *to = w->others + q * jump;
            COUNT(PRODUCTS, add_outer(p->bf16, width, width, along, a + pairs, b + pairs, sum));
            COUNT(PRODUCTS, times(p->bf16, count, width, words, b, back, to));
        }
        COUNT(TILES, untransform_inputs(p, i, n, w->others, w->around));
        row = padded(p, i), picture = row * row * width;
        by = w->around + (row + 1) * width;
    }
}

/* logits, and their gradient on the way back */
static void classify(const Plan *p, const float *bias, const Prepared *ready, size n,
                     const float *targets, const float *weights, float *logits, const Work *w,
                     const Sums *sums) {
    size d = features(p), classes = p->classes;
    for (size k = 0; k < n; k++) {
        const float *own = w->embedded + k * d;
        float *out = logits + k * classes, most = -INFINITY, total = 0;
        for (size j = 0; j < classes; j++) {
            const float *row = ready->linear + j * d;
            vec sum = all(0);
            for (size f = 0; f < d; f += LANES) sum += load(own + f) * load(row + f);
            float value = 0;
            for (int l = 0; l < LANES; l++) value += sum[l];
            out[j] = value + bias[j];
            if (out[j] > most) most = out[j];
        }
        if (!sums) continue;
        float *by = w->by_logits + k * classes, *back = w->by_embedded + k * d;
        for (size j = 0; j < classes; j++) total += by[j] = expf(out[j] - most);
        memset(back, 0, d * sizeof(float));
        for (size j = 0; j < classes; j++) {
            by[j] = (by[j] / total - targets[k * classes + j]) * weights[k];
            sums->bias[j] += by[j];
            const float *row = ready->linear + j * d;
            float *sum = sums->linear + j * d;
            for (size f = 0; f < d; f += LANES) {
                store(sum + f, load(sum + f) + by[j] * load(own + f));
                store(back + f, load(back + f) + by[j] * load(row + f));
            }
        }
    }
}

/* ---------------------------------------------------------------- along a direction */

/* One image's derivatives: of the outputs -> of the normalised outputs, in their place; and of what
   the block gives. `more_scale` and `more_shift` are the direction's. */
static void activate_along(const Plan *p, size i, const float *outputs, const float *scale,
                           const float *shift, const float *more_scale, const float *more_shift,
                           const float *mean, const float *deviation, float *along, float *slope,
                           float *to, size row) {
    size s = side(p, i), width = p->width, pixels = s * s;
    for (size c = 0; c < width; c += LANES) {
        vec middle = load(mean + c), spread = load(deviation + c);
        vec factor = spread * load(scale + c), offset = load(shift + c) - middle * factor;
        vec sum[2] = {all(0), all(0)}, dot[2] = {all(0), all(0)};
        for (size k = 0; k < pixels; k++) {
            vec moved = load(along + k * width + c);
            sum[k % 2] += moved;
            dot[k % 2] += moved * ((load(outputs + k * width + c) - middle) * spread);
        }
        vec average = (sum[0] + sum[1]) / (float)pixels;
        vec own = -spread * ((dot[0] + dot[1]) / (float)pixels);
        store(slope + c, own);
        for (size k = 0; k < pixels; k++) {
            vec normal = (load(outputs + k * width + c) - middle) * spread;
            store(along + k * width + c,
                  (load(along + k * width + c) - average) * spread + normal * own);
        }
        vec by_normal = load(scale + c), by_scale = load(more_scale + c);
        vec by_shift = load(more_shift + c);
        for (size y = 0; y < s / 2; y++)
            for (size x = 0; x < s / 2; x++) {
                vec total = all(0);
                EACH(q, 4) {
                    size at = ((2 * y + q / 2) * s + 2 * x + q % 2) * width + c;
                    vec value = load(outputs + at);
                    vec moved = load(along + at) * by_normal
                        + (value - middle) * spread * by_scale + by_shift;
                    total += where_positive(value * factor + offset, moved);
                }
                store(to + (y * row + x) * width + c, total * 0.25f);
            }
    }
}

/* The way back: the derivative of the outputs' gradient takes the place of `along`. */
static void deactivate_along(const Plan *p, size i, const float *outputs, const float *by_outputs,
                             const float *scale, const float *shift, const float *more_scale,
                             const float *mean, const float *deviation, const float *slope,
                             const float *by, const float *by_along, size row, float *along,
                             float *by_scale, float *by_shift) {
    size s = side(p, i), width = p->width, half = s / 2;
    float share = 1.0f / (float)(s * s);
    for (size c = 0; c < width; c += LANES) {
        vec middle = load(mean + c), spread = load(deviation + c), own = load(slope + c);
        vec factor = spread * load(scale + c), offset = load(shift + c) - middle * factor;
        vec extra = spread * load(more_scale + c);
        /* sums of: the gradient, its derivative, and their products */
        vec given = all(0), moved = all(0), given_normal = all(0), moved_normal = all(0);
        vec given_along = all(0);
        for (size y = 0; y < half; y++)
            for (size x = 0; x < half; x++) {
                vec whole = load(by + (y * half + x) * width + c) * 0.25f;
                vec change = load(by_along + (y * row + x) * width + c) * 0.25f;
                EACH(q, 4) {
                    size at = ((2 * y + q / 2) * s + 2 * x + q % 2) * width + c;
                    vec value = load(outputs + at), normal = (value - middle) * spread;
                    vec first = where_positive(value * factor + offset, whole);
                    vec second = where_positive(value * factor + offset, change);
                    given += first, moved += second;
                    given_normal += first * normal, moved_normal += second * normal;
                    given_along += first * load(along + at);
                }
            }
        vec both = moved_normal + given_along;
        if (by_scale) {
            store(by_scale + c, load(by_scale + c) + both);
            store(by_shift + c, load(by_shift + c) + moved);
        }
        vec constant = (factor * moved + extra * given) * share;
        vec by_normal = (factor * both + extra * given_normal) * share;
        vec by_moved = factor * given_normal * share;
        for (size y = 0; y < s; y++)
            for (size x = 0; x < s; x++) {
                size at = (y * s + x) * width + c;
                vec value = load(outputs + at), normal = (value - middle) * spread;
                vec first = all(0), second = all(0);
                if (y < 2 * half && x < 2 * half) {
                    vec test = value * factor + offset;
                    vec whole = load(by + (y / 2 * half + x / 2) * width + c) * 0.25f;
                    vec change = load(by_along + (y / 2 * row + x / 2) * width + c) * 0.25f;
                    first = where_positive(test, whole), second = where_positive(test, change);
                }
                store(along + at, factor * second + extra * first - constant
                      + own * load(by_outputs + at) - by_moved * load(along + at)
                      - by_normal * normal);
            }
    }
}

/* an image's gradient from that of its patches, whose rows are `wide` */
static void paste(const Plan *p, const float *patches, size wide, float *image) {
    size s = side(p, 0), have = p->image;
    memset(image, 0, p->channels * have * have * sizeof(float));
    for (size y = 0; y < s; y++)
        for (size x = 0; x < s; x++, patches += wide)
            for (size k = 0; k < taps(p); k++) {
                size row = y - p->padding + k / 3 % 3, column = x - p->padding + k % 3;
                if (row >= 0 && row < have && column >= 0 && column < have)
                    image[(k / 9 * have + row) * have + column] += patches[k];
            }
}

/* Derivative of the gradients along a direction, after `backward`: of the images' into `by_images`,
   and of the parameters' added to `sums`, where there are any. */
static void along(const Plan *p, const float *const *parameters, const Prepared *ready,
                  const float *const *direction, const Prepared *more, size n, const float *logits,
                  const float *weights, float *by_images, const Work *w, const Sums *sums) {
    size width = p->width, square = width * width, d = features(p), classes = p->classes;
    for (size i = 0; i < p->depth; i++) {
        size s = side(p, i), pixels = s * s, next = padded(p, i + 1), jump = stride(p, i, n);
        int last = i + 1 == p->depth;
        if (i > 0) {
            COUNT(TILES, transform_inputs(p, i, n, w->around, w->inputs_along[i]));
            for (size q = 0; q < POINTS; q++) {
                float *to = w->products + q * jump;
                COUNT(PRODUCTS, times(0, many(p, i, n), width, width, w->inputs_along[i] + q * jump,
                      ready->forward[i] + q * square, to));
                COUNT(PRODUCTS, add_times(many(p, i, n), width, width, w->inputs[i] + q * jump,
                          more->forward[i] + q * square, to));
            }
            COUNT(TILES, transform_outputs(p, i, n, w->products, w->along[i]));
        }
        if (!last) memset(w->around, 0, n * next * next * width * sizeof(float));
        for (size k = 0; k < n; k++) {
            float *own = w->along[i] + k * pixels * width;
            if (i == 0) COUNT(PRODUCTS, times(0, pixels, width, taps(p), w->patches + k * pixels * taps(p), more->first, own));
            float *to = last ? w->embedded_along + k * d
                             : w->around + ((k * next + 1) * next + 1) * width;
            COUNT(NORMS, activate_along(p, i, w->outputs[i] + k * pixels * width, parameters[4 * i + 2],
                           parameters[4 * i + 3], direction[4 * i + 2], direction[4 * i + 3],
                           w->mean[i] + k * width, w->deviation[i] + k * width, own,
                           w->slope[i] + k * width, to, last ? s / 2 : next));
        }
    }
    for (size k = 0; k < n; k++) {
        const float *own = w->embedded + k * d, *moved = w->embedded_along + k * d;
        const float *out = logits + k * classes, *by = w->by_logits + k * classes;
        float shares[classes], changes[classes], most = -INFINITY, total = 0, middle = 0;
        for (size j = 0; j < classes; j++) most = out[j] > most ? out[j] : most;
        for (size j = 0; j < classes; j++) total += shares[j] = expf(out[j] - most);
        for (size j = 0; j < classes; j++) {
            const float *row = ready->linear + j * d, *change = more->linear + j * d;
            vec sum = all(0);
            for (size f = 0; f < d; f += LANES)
                sum += load(moved + f) * load(row + f) + load(own + f) * load(change + f);
            changes[j] = direction[4 * p->depth + 1][j];
            for (int l = 0; l < LANES; l++) changes[j] += sum[l];
            shares[j] /= total;
            middle += shares[j] * changes[j];
        }
        /* the gradient of the features is not needed any more: here comes its derivative */
        float *back = w->by_embedded + k * d;
        memset(back, 0, d * sizeof(float));
        for (size j = 0; j < classes; j++) {
            float change = shares[j] * (changes[j] - middle) * weights[k];
            const float *row = ready->linear + j * d, *other = more->linear + j * d;
            for (size f = 0; f < d; f += LANES)
                store(back + f, load(back + f) + change * load(row + f) + by[j] * load(other + f));
            if (!sums) continue;
            sums->bias[j] += change;
            float *sum = sums->linear + j * d;
            for (size f = 0; f < d; f += LANES)
                store(sum + f, load(sum + f) + change * load(own + f) + by[j] * load(moved + f));
        }
    }
    const float *by = w->by_embedded;
    size row = side(p, p->depth), picture = row * row * width;
    for (size i = p->depth - 1; i >= 0; i--) {
        size s = side(p, i), pixels = s * s, half = s / 2, jump = stride(p, i, n);
        for (size k = 0; k < n; k++) {
            size at = k * pixels * width;
            COUNT(NORMS, deactivate_along(p, i, w->outputs[i] + at, w->by_outputs[i] + at,
                             parameters[4 * i + 2], parameters[4 * i + 3], direction[4 * i + 2],
                             w->mean[i] + k * width, w->deviation[i] + k * width,
                             w->slope[i] + k * width, w->by_pooled[i] + k * half * half * width,
                             by + k * picture, row, w->along[i] + at, sums ? sums->scale[i] : 0,
                             sums ? sums->shift[i] : 0));
            if (i > 0) continue;
            size wide = taps_wide(p), cells = p->channels * p->image * p->image;
            COUNT(PRODUCTS, times(0, pixels, wide, width, w->along[0] + at, ready->first_back, w->by_patches));
            COUNT(PRODUCTS, add_times(pixels, wide, width, w->by_outputs[0] + at, more->first_back, w->by_patches));
            COUNT(TILES, paste(p, w->by_patches, wide, by_images + k * cells));
            for (size q = 0; sums && q < pixels; q += 256)
                COUNT(PRODUCTS, add_outer(0, taps(p), width, least(256, pixels - q),
                          w->patches + (k * pixels + q) * taps(p), w->along[0] + at + q * width,
                          sums->first));
        }
        if (i == 0) break;
        size count = n * tiles(p, i) * tiles(p, i), rows = many(p, i, n);
        COUNT(TILES, untransform_outputs(p, i, n, w->by_outputs[i], w->products));
        COUNT(TILES, untransform_outputs(p, i, n, w->along[i], w->thirds));
        for (size q = 0; q < POINTS; q++) {
            const float *given = w->products + q * jump, *moved = w->thirds + q * jump;
            float *to = w->others + q * jump;
            COUNT(PRODUCTS, times(0, rows, width, width, moved, ready->backward[i] + q * square, to));
            COUNT(PRODUCTS, add_times(rows, width, width, given, more->backward[i] + q * square, to));
            if (!sums) continue;
            float *sum = sums->weight[i] + q * square;
            COUNT(PRODUCTS, add_outer(0, width, width, count, w->inputs[i] + q * jump, moved, sum));
            COUNT(PRODUCTS, add_outer(0, width, width, count, w->inputs_along[i] + q * jump, given, sum));
        }
        COUNT(TILES, untransform_inputs(p, i, n, w->others, w->around));
        row = padded(p, i), picture = row * row * width;
        by = w->around + (row + 1) * width;
    }
}

/* ---------------------------------------------------------------- threads */

/* The threads of PyTorch's OpenMP, where that is GNU's or speaks as it does: others beside them
   would wait for each other's cores. */
#if defined(__linux__)
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));
#define HAS_TEAM (GOMP_parallel && omp_get_thread_num && omp_get_num_threads)
#else
#define GOMP_parallel(f, a, n, g) ((void)0)
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#define HAS_TEAM 0
#endif

typedef struct Task Task;
typedef void (*Work_of_lane)(const Task *, size lane);
typedef struct {
    const Task *task;
    Work_of_lane work;
    size lane, lanes;
} Share;

static void team_member(void *data) {
    const Share *all = data;
    /* there may be fewer threads than were asked for */
    for (size lane = omp_get_thread_num(); lane < all->lanes; lane += omp_get_num_threads())
        all->work(all->task, lane);
}

static void *one_thread(void *data) {
    const Share *own = data;
    own->work(own->task, own->lane);
    return 0;
}

/* Do `work` for lanes 0 to `lanes` - 1, and come back when all are done. */
static void each_lane(const Task *task, size lanes, Work_of_lane work) {
    Share all = {task, work, 0, lanes};
    if (lanes == 1) {
        work(task, 0);
        return;
    }
    if (HAS_TEAM) {
        GOMP_parallel(team_member, &all, (unsigned)lanes, 0);
        return;
    }
    pthread_t threads[lanes];
    Share shares[lanes];
    int started[lanes];
    for (size lane = 1; lane < lanes; lane++) {
        shares[lane] = (Share){task, work, lane, lanes};
        started[lane] = !pthread_create(&threads[lane], 0, one_thread, &shares[lane]);
    }
    work(task, 0);
    for (size lane = 1; lane < lanes; lane++) {
        if (started[lane]) pthread_join(threads[lane], 0);
        else work(task, lane);
    }
}

/* ---------------------------------------------------------------- what Python calls */

int trustdd_has_bf16(void) { return HAS_BF16; }

/* between `parameters()` order, [classes, width, s, s], and channels last */
static void reorder(const Plan *p, const float *from, float *to, int back) {
    size width = p->width, s = side(p, p->depth), spots = s * s;
    for (size j = 0; j < p->classes; j++)
        for (size c = 0; c < width; c++)
            for (size k = 0; k < spots; k++) {
                size first = (j * width + c) * spots + k, last = (j * spots + k) * width + c;
                if (back) to[first] = from[last];
                else to[last] = from[first];
            }
}

/* What is to be done with a batch; see `trustdd_run`. */
struct Task {
    const Plan *plan;
    int mode;
    size count, lanes, each;
    const float *const *parameters, *const *direction;
    const float *images, *targets, *weights;
    float *logits, *embedded, *by_images;
    float *const *gradients, *const *by_parameters;
    Prepared ready, more;
    double *spent; /* [lanes, KINDS] or none */
    float *sums, *sums_along, *work; /* of the first lane; the others' behind it */
    size sums_floats, work_floats;
};

INLINE size part(size count, size lanes, size lane) { return count * lane / lanes; }

static void prepare(const Task *t, const float *const *tensors, const Prepared *to, size lane) {
    const Plan *p = t->plan;
    size width = p->width, n = taps(p);
    size first = part(width, t->lanes, lane), last = part(width, t->lanes, lane + 1);
    for (size i = 1; i < p->depth; i++)
        transform_weights(p, i, tensors[4 * i], to, first, last);
    if (lane > 0) return;
    memset(to->first_back, 0, taps_wide(p) * width * sizeof(float));
    for (size k = 0; k < n; k++)
        for (size j = 0; j < width; j++) {
            to->first[in_panels(width, n, k, j)] = tensors[0][j * n + k];
            to->first_back[in_panels(taps_wide(p), width, j, k)] = tensors[0][j * n + k];
        }
    reorder(p, tensors[4 * p->depth], to->linear, 0);
}

static void begin_lane(const Task *t, size lane) {
    prepare(t, t->parameters, &t->ready, lane);
    if (t->direction) prepare(t, t->direction, &t->more, lane);
    size bytes = t->sums_floats * sizeof(float);
    if (t->sums) memset(t->sums + lane * t->sums_floats, 0, bytes);
    if (t->sums_along) memset(t->sums_along + lane * t->sums_floats, 0, bytes);
}

static void piece(const Task *t, size first, size n, Work *w, const Sums *sums,
                  const Sums *further) {
    const Plan *p = t->plan;
    size cells = p->channels * p->image * p->image, classes = p->classes;
    const float *weights = t->weights ? t->weights + first : 0;
    float *logits = t->logits + first * classes;
    forward(p, t->parameters, &t->ready, n, t->images + first * cells, t->mode, w);
    classify(p, t->parameters[4 * p->depth + 1], &t->ready, n,
             t->targets ? t->targets + first * classes : 0, weights, logits, w, sums);
    if (t->embedded) {
        Plan rows = *p;
        rows.classes = n;
        reorder(&rows, w->embedded, t->embedded + first * features(p), 1);
    }
    if (t->mode >= BACK) backward(p, t->parameters, &t->ready, n, t->mode, w, sums);
    if (t->mode == ALONG)
        along(p, t->parameters, &t->ready, t->direction, &t->more, n, logits, weights,
              t->by_images + first * cells, w, further);
}

static void pieces_of_lane(const Task *t, size lane) {
    Sums sums, further;
    Work w;
    size pieces = (t->count + t->each - 1) / t->each;
    if (t->sums) sums_at(t->plan, t->sums + lane * t->sums_floats, &sums);
    if (t->sums_along) sums_at(t->plan, t->sums_along + lane * t->sums_floats, &further);
    work_at(t->plan, t->work + lane * t->work_floats, t->each, t->mode, &w);
    w.spent = t->spent ? t->spent + lane * KINDS : 0;
    for (size k = lane; k < pieces; k += t->lanes) {
        size first = part(t->count, pieces, k), last = part(t->count, pieces, k + 1);
        piece(t, first, last - first, &w, t->sums ? &sums : 0, t->sums_along ? &further : 0);
    }
}

/* a share of the lanes' sums, added up in the lanes' order */
static void add_lane(const Task *t, size lane) {
    size first = part(t->sums_floats, t->lanes, lane), last = part(t->sums_floats, t->lanes, lane + 1);
    for (size other = 1; other < t->lanes; other++)
        for (size k = first; k < last; k++) {
            t->sums[k] += t->sums[other * t->sums_floats + k];
            if (t->sums_along) t->sums_along[k] += t->sums_along[other * t->sums_floats + k];
        }
}

/* sums -> gradients in `parameters()` order, but a convolution's bias, which is left as it is */
static void finish(const Task *t, float *sums, float *const *gradients, size lane) {
    const Plan *p = t->plan;
    Sums from;
    size width = p->width, n = taps(p), square = width * width;
    size begin = part(width, t->lanes, lane), end = part(width, t->lanes, lane + 1);
    sums_at(p, sums, &from);
    for (size i = 1; i < p->depth; i++)
        for (size c = begin; c < end; c++)
            for (size k = 0; k < width; k += LANES) {
                vec u[POINTS], g[9];
                for (int q = 0; q < POINTS; q++)
                    u[q] = load(from.weight[i] + q * square + c * width + k);
                by_weight_2d(g, u);
                for (int a = 0; a < 9; a++)
                    for (int l = 0; l < LANES; l++)
                        gradients[4 * i][((k + l) * width + c) * 9 + a] = g[a][l];
            }
    if (lane > 0) return;
    for (size k = 0; k < n; k++)
        for (size j = 0; j < width; j++) gradients[0][j * n + k] = from.first[k * width + j];
    for (size i = 0; i < p->depth; i++) {
        memcpy(gradients[4 * i + 2], from.scale[i], width * sizeof(float));
        memcpy(gradients[4 * i + 3], from.shift[i], width * sizeof(float));
    }
    reorder(p, from.linear, gradients[4 * p->depth], 1);
    memcpy(gradients[4 * p->depth + 1], from.bias, p->classes * sizeof(float));
}

static void finish_lane(const Task *t, size lane) {
    finish(t, t->sums, t->gradients, lane);
    if (t->sums_along) finish(t, t->sums_along, t->by_parameters, lane);
}

/* images a piece: few enough for a core's cache, and as many for every lane */
static size images_each(const Plan *p, size count, size lanes, int mode, size bytes) {
    size most = bytes / (size)sizeof(float) / work_at(p, 0, 1, mode, &(Work){0});
    if (most < 1) most = 1;
    size pieces = (count + most - 1) / most;
    pieces = (pieces + lanes - 1) / lanes * lanes;
    return (count + pieces - 1) / pieces;
}

INLINE int mode_of(int loss, int moved) { return moved ? ALONG : loss ? BACK : FORWARD; }

/* how many floats of room `trustdd_run` needs */
size trustdd_room(const Plan *p, size count, size lanes, int loss, int moved, size bytes) {
    int mode = mode_of(loss, moved);
    size each = images_each(p, count, lanes, mode, bytes);
    return (moved ? 2 : 1) * prepared_at(p, 0, &(Prepared){0})
        + (mode == FORWARD ? 0 : mode == BACK ? 1 : 2) * lanes * sums_at(p, 0, &(Sums){0})
        + lanes * work_at(p, 0, each, mode, &(Work){0});
}

/* Take a batch through the network, on `lanes` threads, in pieces whose numbers take about `bytes`:
   its logits [count, classes] and, where `embedded` is there, features in the usual order. Where `gradients` are there, those
   of the loss that `targets` and `weights` make. Where `direction` is there, too, the derivatives
   along it, in float32 only: of the images' gradient, and of the parameters' where `by_parameters`
   are there. All tensors of parameters are in `parameters()` order. The seconds that each lane spends
   on products, on transforms of tiles, and on norms, ReLU and pooling are added to `spent`. */
void trustdd_run(const Plan *p, const float *const *parameters, size count, const float *images,
                 const float *targets, const float *weights, float *logits, float *embedded,
                 float *const *gradients, const float *const *direction, float *by_images,
                 float *const *by_parameters, size lanes, size bytes, double *spent, float *room) {
    int mode = mode_of(gradients != 0, direction != 0);
    Task t = {
        .plan = p, .mode = mode, .count = count, .lanes = lanes,
        .each = images_each(p, count, lanes, mode, bytes), .parameters = parameters,
        .direction = direction, .images = images, .targets = targets, .weights = weights,
        .logits = logits, .embedded = embedded, .by_images = by_images, .gradients = gradients,
        .by_parameters = by_parameters, .spent = spent,
    };
    t.sums_floats = sums_at(p, 0, &(Sums){0});
    t.work_floats = work_at(p, 0, t.each, mode, &(Work){0});
    room += prepared_at(p, room, &t.ready);
    if (mode == ALONG) room += prepared_at(p, room, &t.more);
    if (mode >= BACK) t.sums = room, room += lanes * t.sums_floats;
    if (by_parameters) t.sums_along = room, room += lanes * t.sums_floats;
    t.work = room;
    each_lane(&t, lanes, begin_lane);
    each_lane(&t, lanes, pieces_of_lane);
    if (mode == FORWARD) return;
    each_lane(&t, lanes, add_lane);
    each_lane(&t, lanes, finish_lane);
}
