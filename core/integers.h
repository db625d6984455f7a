/* Products of whole numbers, exact in 32 bits. Included by unit.h.

   Weights and keys are bytes that stand for themselves - 128, four inputs of one output together; activations are
   `Small`, -127..127. What the 128 add to a sum is 128 times the sum of the activations, which is taken off again. */

#if LANES == 16
#include <immintrin.h>
#define RINT(x) ((Floats)_mm512_roundscale_ps((__m512)(x), 8))
#elif LANES == 8
#include <immintrin.h>
#define RINT(x) ((Floats)_mm256_round_ps((__m256)(x), 8))
#elif LANES == 4 && defined(__SSE2__)
#include <emmintrin.h>
#elif LANES == 4 && defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define RINT(x) ((Floats)wasm_f32x4_nearest((v128_t)(x)))
#elif LANES == 4 && defined(__aarch64__)
#include <arm_neon.h>
#define RINT(x) ((Floats)vrndnq_f32((float32x4_t)(x)))
#endif

/* ---- LANES pairs of 16-bit numbers ---- */

typedef int16_t Shorts __attribute__((vector_size(4 * LANES)));
typedef Shorts LooseShorts __attribute__((aligned(2), may_alias));

INLINE Shorts shorts_at(const int16_t *from) { return *(const LooseShorts *)from; }

#if LANES == 1
INLINE Shorts same_pair(int32_t pair) { return ((union { int32_t i; Shorts s; }){.i = pair}).s; }
#else
INLINE Shorts same_pair(int32_t pair) { return (Shorts)((Ints){0} + pair); }
#endif

/* sums[i] + a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1] */
INLINE Ints add_pairs(Ints sums, Shorts a, Shorts b) {
#if LANES == 16
    return (Ints)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b);
#elif LANES == 8
    return sums + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif LANES == 4 && defined(__SSE2__)
    return sums + (Ints)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif LANES == 4 && defined(__wasm_simd128__)
    return sums + (Ints)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b);
#elif LANES == 4 && defined(__aarch64__)
    const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
    return sums + (Ints)vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b));
#elif LANES == 1
    return sums + a[0] * b[0] + a[1] * b[1];
#else
    const Ints two = (Ints)a, by_two = (Ints)b; /* each in one of the halves */
    return sums + (two << 16 >> 16) * (by_two << 16 >> 16) + (two >> 16) * (by_two >> 16);
#endif
}

/* ---- LANES outputs by four inputs ---- */

#if LANES == 16
typedef int8_t Small;
typedef __m512i Weights, Quad;
typedef Ints Sums;
INLINE Weights weights_at(const uint8_t *from) { return _mm512_loadu_si512(from); }
INLINE Quad quad_at(const Small *x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
}
INLINE Sums add_quads(Sums sums, Weights weights, Quad x) {
    return (Sums)_mm512_dpbusd_epi32((__m512i)sums, weights, x);
}
INLINE Ints total(Sums sums) { return sums; }
#elif LANES == 1
typedef int16_t Small;
typedef const uint8_t *Weights;
typedef const Small *Quad;
typedef Ints Sums;
INLINE Weights weights_at(const uint8_t *from) { return from; }
INLINE Quad quad_at(const Small *x) { return x; }
INLINE Sums add_quads(Sums sums, Weights weights, Quad x) {
    for (int input = 0; input < 4; input++) sums += weights[input] * x[input];
    return sums;
}
INLINE Ints total(Sums sums) { return sums; }
#else
typedef int16_t Small;
typedef uint8_t Bytes __attribute__((vector_size(2 * LANES)));
typedef Bytes LooseBytes __attribute__((aligned(1), may_alias));
typedef int64_t Longs __attribute__((vector_size(4 * LANES)));
typedef Shorts Quad;
/* the first half of the outputs, and the second */
typedef struct {
    Shorts low, high;
} Weights;
/* two sums of each output */
typedef struct {
    Ints low, high;
} Sums;
INLINE Shorts widened(const uint8_t *from) {
#if LANES == 8 /* what GCC makes of the portable text takes three times as many instructions */
    return (Shorts)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)from));
#elif LANES == 4 && defined(__SSE2__)
    return (Shorts)_mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)from), _mm_setzero_si128());
#else
    return __builtin_convertvector(*(const LooseBytes *)from, Shorts);
#endif
}
INLINE Weights weights_at(const uint8_t *from) { return (Weights){widened(from), widened(from + 2 * LANES)}; }
INLINE Quad quad_at(const Small *x) {
    int64_t four;
    __builtin_memcpy(&four, x, 8);
    return (Quad)((Longs){0} + four);
}
INLINE Sums add_quads(Sums sums, Weights weights, Quad x) {
    return (Sums){add_pairs(sums.low, weights.low, x), add_pairs(sums.high, weights.high, x)};
}
#if defined(__clang__)
#define PICKED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICKED(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif
INLINE Ints total(Sums sums) {
#if LANES == 8
    return PICKED(sums.low, sums.high, 0, 2, 4, 6, 8, 10, 12, 14) +
           PICKED(sums.low, sums.high, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    return PICKED(sums.low, sums.high, 0, 2, 4, 6) + PICKED(sums.low, sums.high, 1, 3, 5, 7);
#endif
}
#endif

INLINE int32_t sum_of(const Small *x, int32_t count) {
    int32_t sum = 0;
    for (int32_t k = 0; k < count; k++) sum += x[k];
    return sum;
}

/* ---- floats that are whole numbers ---- */

#if LANES == 1
INLINE Floats as_floats(Ints x) { return (Floats)x; }
INLINE Ints ints_at(const int32_t *from) { return *from; }
INLINE void store_ints(int32_t *to, Ints x) { *to = x; }
#else
INLINE Floats as_floats(Ints x) { return __builtin_convertvector(x, Floats); }
INLINE Ints ints_at(const int32_t *from) { return *(const LooseInts *)from; }
INLINE void store_ints(int32_t *to, Ints x) { *(LooseInts *)to = x; }
#endif

/* To the nearest whole number, the even one of two. */
INLINE Floats whole(Floats x) {
#if defined(RINT)
    return RINT(x);
#else
    const Floats size = SELECT(x < 0.0f, -x, x), shift = SELECT(x < 0.0f, (Floats){0} - 8388608.0f, (Floats){0} + 8388608.0f);
    return SELECT(size < 8388608.0f, (x + shift) - shift, x);
#endif
}

INLINE Floats within(Floats x, float limit) {
    x = SELECT(x < limit, x, (Floats){0} + limit);
    return SELECT(x > -limit, x, (Floats){0} - limit);
}

/* 16-bit numbers, and numbers of -127..127. */
#if LANES == 1
INLINE void store_shorts(int16_t *to, Ints x) { *to = (int16_t)x; }
INLINE void store_small(Small *to, Floats x) { *to = (Small)x; }
INLINE Floats small_at(const Small *from) { return (Floats)*from; }
#else
typedef int16_t FewShorts __attribute__((vector_size(2 * LANES)));
typedef FewShorts LooseFewShorts __attribute__((aligned(2), may_alias));
INLINE void store_shorts(int16_t *to, Ints x) { *(LooseFewShorts *)to = __builtin_convertvector(x, FewShorts); }
INLINE void store_small(Small *to, Floats x) {
#if LANES == 16
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)TO_INTS(x)));
#else
    store_shorts(to, TO_INTS(x));
#endif
}
INLINE Floats small_at(const Small *from) {
#if LANES == 16
    return as_floats((Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#else
    return as_floats(__builtin_convertvector(*(const LooseFewShorts *)from, Ints));
#endif
}
#endif

/* Numbers of a table. */
INLINE Ints gathered(const int32_t *table, Ints index) {
#if LANES == 16
    return (Ints)_mm512_i32gather_epi32((__m512i)index, table, 4);
#else
    int32_t lanes[LANES];
    store_ints(lanes, index);
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = table[lanes[lane]];
    return ints_at(lanes);
#endif
}

/* ---- linear maps ---- */

/* So many that all sums stay in registers. */
#define LINEAR_ROWS (LANES == 16 ? 8 : LANES == 8 ? 6 : 5)
/* Vectors of outputs at once. */
#define LINEAR_COLUMNS (LANES == 16 ? 2 : 1)

/* sums (rows, LINEAR_COLUMNS LANES) of rows x, `columns` vectors of them; excess: 128 times the sum of each row. */
INLINE void multiply_small(const uint8_t *weight, int32_t inputs, const Small *x, int64_t stride, const int32_t *excess,
                           int32_t *sums, const int rows, const int columns) {
    Sums each[LINEAR_ROWS][LINEAR_COLUMNS];
    UNROLL
    for (int row = 0; row < rows; row++) {
        UNROLL
        for (int column = 0; column < columns; column++) each[row][column] = (Sums){0};
    }
    for (int32_t k = 0; k < inputs; k += 4, weight += 4 * BLOCK, x += 4) {
        Weights weights[LINEAR_COLUMNS];
        UNROLL
        for (int column = 0; column < columns; column++)
            weights[column] = weights_at(weight + (int64_t)column * BLOCK * inputs);
        UNROLL
        for (int row = 0; row < rows; row++) {
            const Quad four = quad_at(x + row * stride);
            UNROLL
            for (int column = 0; column < columns; column++)
                each[row][column] = add_quads(each[row][column], weights[column], four);
        }
    }
    UNROLL
    for (int row = 0; row < rows; row++) {
        UNROLL
        for (int column = 0; column < columns; column++)
            store_ints(sums + (row * LINEAR_COLUMNS + column) * LANES, total(each[row][column]) - excess[row]);
    }
}

#define MULTIPLY(rows) \
    case rows: \
        if (columns == 1) \
            multiply_small(weight, inputs, x, stride, excess, sums, rows, 1); \
        else \
            multiply_small(weight, inputs, x, stride, excess, sums, rows, LINEAR_COLUMNS); \
        break;

static void multiply_rows(const uint8_t *weight, int32_t inputs, const Small *x, int64_t stride, const int32_t *excess,
                          int32_t *sums, int rows, int columns) {
    switch (rows) {
        MULTIPLY(1)
        MULTIPLY(2)
        MULTIPLY(3)
        MULTIPLY(4)
        MULTIPLY(5)
#if LANES > 4
        MULTIPLY(6)
#endif
#if LANES > 8
        MULTIPLY(7)
        MULTIPLY(8)
#endif
    }
}

/* Where rint(sums * scale + offset) goes; `stride` numbers from row to row. */
typedef enum { TO_FLOATS, ADDED_TO_FLOATS, TO_SMALL, TO_POSITIVE, ADDED_TO_SMALL, BY_TABLE } Ending;
typedef struct {
    Ending ending;
    float *floats;
    Small *small;
    int64_t stride;
    const int32_t *table; /* of -GELU_LIMIT..GELU_LIMIT */
} Ended;

INLINE void end_vector(const Ended *to, int64_t place, Floats y) {
    switch (to->ending) {
    case TO_FLOATS: store(to->floats + place, y); break;
    case ADDED_TO_FLOATS: store(to->floats + place, loaded(to->floats + place) + y); break;
    case TO_SMALL: store_small(to->small + place, within(y, 127.0f)); break;
    case TO_POSITIVE: store_small(to->small + place, within(SELECT(y > 0.0f, y, (Floats){0}), 127.0f)); break;
    case ADDED_TO_SMALL: store_small(to->small + place, within(small_at(to->small + place) + y, 127.0f)); break;
    case BY_TABLE:
        y = as_floats(gathered(to->table, TO_INTS(within(y, (float)GELU_LIMIT)) + GELU_LIMIT));
        store_small(to->small + place, y);
        break;
    }
}

/* Of `count` rows x, at most TILE. */
static void linear(const IntegerLinear *map, const Small *x, int64_t stride, int32_t count, Ended to) {
    int32_t excess[TILE], sums[LINEAR_ROWS * LINEAR_COLUMNS * LANES];
    for (int32_t row = 0; row < count; row++) excess[row] = 128 * sum_of(x + row * stride, map->inputs);
    for (int32_t output = 0; output < map->outputs;) {
        const int columns = map->outputs - output < LINEAR_COLUMNS * LANES ? 1 : LINEAR_COLUMNS;
        const uint8_t *weight = map->weight + (int64_t)(output / BLOCK) * BLOCK * map->inputs + output % BLOCK * 4;
        for (int32_t first = 0, rows; first < count; first += rows) {
            const int32_t left = count - first, times = (left + LINEAR_ROWS - 1) / LINEAR_ROWS;
            rows = (left + times - 1) / times; /* about as many each time */
            multiply_rows(weight, map->inputs, x + first * stride, stride, excess + first, sums, rows, columns);
            for (int column = 0; column < columns; column++) {
                const int32_t at = output + column * LANES;
                const Floats scale = loaded(map->scale + at), offset = loaded(map->offset + at);
                for (int row = 0; row < rows; row++) {
                    const Floats sum = as_floats(ints_at(sums + (row * LINEAR_COLUMNS + column) * LANES));
                    end_vector(&to, (first + row) * to.stride + at, whole(sum * scale + offset));
                }
            }
        }
        output += columns * LANES;
    }
}

#define HALVES (LANES / WIDE)
#if LANES == 1
INLINE Wide widened_half(const float *from) { return *from; }
#else
typedef float HalfFloats __attribute__((vector_size(2 * LANES)));
typedef HalfFloats LooseHalfFloats __attribute__((aligned(4), may_alias));
INLINE Wide widened_half(const float *from) {
    return __builtin_convertvector(*(const LooseHalfFloats *)from, Wide);
}
#endif

/* Root-mean-square normalisation of `width` whole numbers, padded to a multiple of 16 by zeros. */
static void normalise_whole(const float *x, int32_t width, float gain, Small *y) {
    double sum = 0; /* of whole numbers below 2^53 */
    Wide squares[2] = {(Wide){0}, (Wide){0}};
    for (int32_t c = 0; c < width; c += LANES) {
        float lanes[LANES];
        store(lanes, within(loaded(x + c), 1048576.0f));
        for (int half = 0; half < HALVES; half++) {
            const Wide each = widened_half(lanes + half * WIDE);
            squares[half] = squares[half] + each * each;
        }
    }
    for (int lane = 0; lane < WIDE; lane++) sum += WIDE_LANE(squares[0], lane) + WIDE_LANE(squares[1], lane);
    double mean = sum / (double)width;
    mean = mean > 1.0 ? mean : 1.0;
    const float factor = (float)((double)gain / __builtin_sqrt(mean));
    for (int32_t c = 0; c < width; c += LANES) store_small(y + c, within(whole(loaded(x + c) * factor), 127.0f));
}
