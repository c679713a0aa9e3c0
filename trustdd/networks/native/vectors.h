/* Vectors of float32 as wide as this CPU has them, and whether it multiplies bfloat16 numbers. */

#pragma once

#include <stdint.h>

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
#define EACH(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < n; i++)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t size;

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec all(float x) { return x - (vec){0}; }

/* A ReLU's way: the value, or 0 where the test is at most 0. As in PyTorch, a test that is not a number
   lets the value through, so that what went wrong is seen. */
INLINE vec where_active(vec test, vec value) { return (vec)((ivec)value & ~(test <= 0)); }

INLINE size least(size a, size b) { return a < b ? a : b; }

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
