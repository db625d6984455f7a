/* The nearest code, in double precision as the contract of the look-up says: sums of (z - c)^2 over the dimensions in
   ascending order, the first of equal ones, what is no number infinitely far. Included by unit.h. */

#define WIDE (LANES < 2 ? 1 : LANES / 2)
#if LANES <= 2
typedef double Wide;
typedef double LooseWide __attribute__((may_alias));
#define WIDE_LANE(x, lane) (x)
#undef WIDE
#define WIDE 1
#else
typedef double Wide __attribute__((vector_size(4 * LANES)));
typedef Wide LooseWide __attribute__((aligned(8), may_alias));
#define WIDE_LANE(x, lane) ((x)[lane])
#endif

/* Costs of WIDE * 2 codes from `code` on. */
INLINE void costs_of(const float *vector, const double *codes, int32_t dimension, int32_t stride, int32_t code,
                     Wide costs[2]) {
    costs[0] = costs[1] = (Wide){0};
    for (int32_t d = 0; d < dimension; d++) {
        const double z = vector[d];
        const double *row = codes + (int64_t)d * stride + code;
        const Wide first = z - *(const LooseWide *)row, second = z - *(const LooseWide *)(row + WIDE);
        costs[0] = costs[0] + first * first;
        costs[1] = costs[1] + second * second;
    }
}

static void nearest(const float *vectors, int32_t stride, int64_t count, const double *codes, int32_t dimension,
                    int32_t codes_stride, int32_t *nearest) {
    for (int64_t n = 0; n < count; n++) {
        double least[2 * WIDE];
        int32_t which[2 * WIDE];
        for (int lane = 0; lane < 2 * WIDE; lane++) {
            least[lane] = __builtin_inf();
            which[lane] = 0;
        }
        for (int32_t code = 0; code < codes_stride; code += 2 * WIDE) {
            Wide costs[2];
            costs_of(vectors + n * stride, codes, dimension, codes_stride, code, costs);
            for (int lane = 0; lane < 2 * WIDE; lane++) {
                const double cost = lane < WIDE ? WIDE_LANE(costs[0], lane) : WIDE_LANE(costs[1], lane - WIDE);
                const int better = cost < least[lane];
                least[lane] = better ? cost : least[lane];
                which[lane] = better ? code + lane : which[lane];
            }
        }
        int best = 0;
        for (int lane = 1; lane < 2 * WIDE; lane++)
            if (least[lane] < least[best] || (least[lane] == least[best] && which[lane] < which[best])) best = lane;
        nearest[n] = which[best];
    }
}

static void distances(const float *vectors, int32_t stride, int64_t count, const double *codes, int32_t dimension,
                      int32_t codes_stride, int32_t code_count, float *distances) {
    for (int64_t n = 0; n < count; n++, distances += code_count)
        for (int32_t code = 0; code < codes_stride; code += 2 * WIDE) {
            Wide costs[2];
            costs_of(vectors + n * stride, codes, dimension, codes_stride, code, costs);
            for (int lane = 0; lane < 2 * WIDE && code + lane < code_count; lane++)
                distances[code + lane] =
                    (float)(lane < WIDE ? WIDE_LANE(costs[0], lane) : WIDE_LANE(costs[1], lane - WIDE));
        }
}
