/* Vectors of LANES numbers, in the compilers' portable types. For one unit of the processor: see unit.h.

   A lane never meets another one in a sum, so results do not depend on LANES. Loads and stores need no alignment. */
#ifndef VQ_LANES_H
#define VQ_LANES_H

#include <stdint.h>

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "float and double must be computed in their own precision: on 32-bit x86, compile with -msse2 -mfpmath=sse"
#endif

#define INLINE static inline __attribute__((always_inline))
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#else
#define UNROLL PRAGMA(GCC unroll 16)
#endif

/* Channels of outputs that are computed together, whatever the unit: what weights are packed by. */
#define BLOCK 16
#define VECTORS (BLOCK / LANES)

#if LANES == 1
typedef float Floats;
typedef double Doubles;
typedef int32_t Ints;
typedef Floats LooseFloats __attribute__((may_alias));
typedef Ints LooseInts __attribute__((may_alias));
#define SELECT(condition, yes, no) ((condition) ? (yes) : (no))
#define TO_INTS(x) ((Ints)(x))
#define AS_FLOATS(x) (((union { Ints i; Floats f; }){.i = (x)}).f)
#define LANE(x, lane) (x)
#else
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef Floats LooseFloats __attribute__((aligned(4), may_alias));
typedef Ints LooseInts __attribute__((aligned(4), may_alias));
/* condition: what a comparison of vectors gives, -1 or 0 a lane */
#define SELECT(condition, yes, no) ((Floats)(((condition) & (Ints)(yes)) | (~(condition) & (Ints)(no))))
#define TO_INTS(x) __builtin_convertvector(x, Ints)
#define AS_FLOATS(x) ((Floats)(x))
#define LANE(x, lane) ((x)[lane])
#endif

INLINE Floats loaded(const float *from) { return *(const LooseFloats *)from; }
INLINE void store(float *to, Floats x) { *(LooseFloats *)to = x; }

/* To the nearest whole number, the even one of two; |x| < 2^22. */
INLINE Floats rounded(Floats x) { return (x + 12582912.0f) - 12582912.0f; }

#endif
