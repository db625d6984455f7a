// The nearest codes of few dimensions: an alternative to the Triton kernel, compiled where it is asked for.
//
// Each warp holds 64 vectors in registers, in the order in which `mma` takes them, and all codes pass by, straight from
// the cache in that order, too: nothing is shared, nobody waits. As in fused_kernel.py, the parts of a vector lie side by
// side (vqcodec/kernels/layout.py), scores are positive, their bits compare as whole numbers, and what rounding could
// have decided is decided by the contract (vqcodec/kernels/contract.py), in float64.
//
// Words: a row is a vector. A lane has two rows of each of ROW_TILES, and two columns of 8 of scores. GROUP times 8
// codes are a chunk; its codes in the two columns of a lane are a group, of which only the largest score is kept.
//
// Set when it is compiled: DIMENSION, WIDTH (16 or 32), COSINE (0 or 1).

#define SLICES (WIDTH / 16)
#define ROW_TILES 4
#define WARPS 8
#define GROUP 16
#define CHUNK (8 * GROUP)
#define EVERY_LANE 0xffffffffu
#define LEAST_LENGTH 8.881784197001252e-16f  // as in scores.py, like the next
#define LARGEST_SCORE 1.329227995784916e+36f

// What the host knows of codes and rounding, see vqcodec.kernels.code_scores.Margin.
struct Rounding {
    float radius, relative, squared, tiny;
};

// A row's best scores: of the group, of all others, and of all but the best group of each lane.
struct Best {
    int score, second, chunk;
};

__device__ static float rounded_to_bfloat16(float x) {
    unsigned bits = __float_as_uint(x);
    return __uint_as_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

__device__ static unsigned pair_of_bfloat16(float low, float high) {
    return (__float_as_uint(rounded_to_bfloat16(low)) >> 16) | (__float_as_uint(rounded_to_bfloat16(high)) & 0xffff0000u);
}

__device__ static float squared_length(const float* z) {
    float sum = 0;
    for (int d = 0; d < DIMENSION; d++) sum += z[d] * z[d];
    return sum;
}

__device__ static float reach(float squares, const Rounding& rounding) {
    return (sqrtf(squares) + LEAST_LENGTH + rounding.radius) * rounding.radius;
}

// Column `k` of a row: first parts, second parts, first parts, three ones, and what lifts its scores above 0.
__device__ static float laid_out(const float* z, int k, float lift) {
    if (k >= 3 * DIMENSION) return k < 3 * DIMENSION + 3 ? 1.0f : k == 3 * DIMENSION + 3 ? lift : 0.0f;
    float value = z[k % DIMENSION], first = rounded_to_bfloat16(value);
    return k / DIMENSION == 1 ? value - first : first;
}

// The contract's cost, operation after operation, none of them fused.
__device__ static double cost(const float* z, const float* codes, const double* code_squares, int code, int size) {
    const double infinity = __longlong_as_double(0x7ff0000000000000ll);
    if (code >= size) return infinity;
    double sum = 0;
    for (int d = 0; d < DIMENSION; d++) {
        double ours = z[d], theirs = codes[(long long)code * DIMENSION + d];
        double left = __dsub_rn(ours, theirs);
        sum = __dadd_rn(sum, COSINE ? __dmul_rn(ours, theirs) : __dmul_rn(left, left));
    }
    if (COSINE && code_squares[code] != 0) sum = __ddiv_rn(__dmul_rn(-sum, fabs(sum)), code_squares[code]);
    return fabs(sum) < infinity ? sum : infinity;
}

// The least cost, and of equal ones the lowest code, over lanes whose numbers differ in the bits of `lanes`.
__device__ static void least_of(double& least, int& code, int lanes) {
    for (int bit = lanes; bit; bit >>= 1) {
        double other = __shfl_xor_sync(EVERY_LANE, least, bit);
        int other_code = __shfl_xor_sync(EVERY_LANE, code, bit);
        if (other < least || (other == least && other_code < code)) least = other, code = other_code;
    }
}

__device__ static void try_code(const float* z, const float* codes, const double* squares, int tried, int size,
                                double& least, int& code) {
    double found = cost(z, codes, squares, tried, size);
    if (found < least || (found == least && tried < code)) least = found, code = tried;
}

// One row that is in doubt, by all lanes: among the best groups of its four lanes, or among all codes.
__device__ static int settled(const float* z, const float* codes, const double* squares, int size, int quad, int chunk,
                              bool is_deep) {
    int lane = threadIdx.x % 32, code = 0x7fffffff;
    double least = __longlong_as_double(0x7ff0000000000000ll);
    if (is_deep) {
        for (int tried = lane; tried < size; tried += 32) try_code(z, codes, squares, tried, size, least, code);
    } else {
        for (int place = 0; place < 4; place++) {
            int tried = __shfl_sync(EVERY_LANE, chunk, 4 * quad + place) * CHUNK;
            tried += lane / 2 * 8 + place * 2 + lane % 2;
            try_code(z, codes, squares, tried, size, least, code);
        }
    }
    least_of(least, code, 16);
    return code;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)
nearest(const float* z, const float* codes, const double* code_squares, const unsigned* fragments,
        const float* roundings, long long* indices, int count, int size, int chunks) {
    const Rounding rounding = {roundings[0], roundings[1], roundings[2], roundings[3]};
    const int lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4;
    const int first = (blockIdx.x * WARPS + threadIdx.x / 32) * 16 * ROW_TILES;
    if (first >= count) return;

    unsigned rows[ROW_TILES][SLICES][4];
    Best best[ROW_TILES][2];
#pragma unroll
    for (int tile = 0; tile < ROW_TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = min(first + 16 * tile + 8 * half + quad, count - 1);
            const float* here = z + (long long)row * DIMENSION;
            float lift = rounded_to_bfloat16(1.01f * reach(squared_length(here), rounding));
#pragma unroll
            for (int slice = 0; slice < SLICES; slice++)
#pragma unroll
                for (int part = 0; part < 2; part++) {
                    int k = 16 * slice + 8 * part + 2 * place;
                    rows[tile][slice][2 * part + half] =
                        pair_of_bfloat16(laid_out(here, k, lift), laid_out(here, k + 1, lift));
                }
            best[tile][half] = {0, 0, 0};
        }

    for (int chunk = 0; chunk < chunks; chunk++) {
        int top[ROW_TILES][2] = {};
#pragma unroll 4
        for (int step = 0; step < GROUP; step++) {
            unsigned theirs[SLICES][2];
            load_fragment<SLICES>(theirs, fragments + ((chunk * GROUP + step) * 32 + lane) * 2 * SLICES);
#pragma unroll
            for (int tile = 0; tile < ROW_TILES; tile++) {
                float scores[4] = {0, 0, 0, 0};
#pragma unroll
                for (int slice = 0; slice < SLICES; slice++) add_product(scores, rows[tile][slice], theirs[slice]);
#pragma unroll
                for (int half = 0; half < 2; half++)
                    top[tile][half] = max(max(__float_as_int(scores[2 * half]), __float_as_int(scores[2 * half + 1])),
                                          top[tile][half]);
            }
        }
#pragma unroll
        for (int tile = 0; tile < ROW_TILES; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                Best& kept = best[tile][half];
                kept.chunk = top[tile][half] > kept.score ? chunk : kept.chunk;
                kept.second = max(kept.second, min(kept.score, top[tile][half]));
                kept.score = max(kept.score, top[tile][half]);
            }
    }

#pragma unroll
    for (int tile = 0; tile < ROW_TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const Best kept = best[tile][half];
            int row = first + 16 * tile + 8 * half + quad;
            const float* here = z + (long long)min(row, count - 1) * DIMENSION;

            // the best of the row's four lanes, the best of all other groups, and of all that are no lane's best
            int score = kept.score, where = place, rival = kept.second, deep = kept.second;
            for (int bit = 2; bit; bit >>= 1) {
                int other = __shfl_xor_sync(EVERY_LANE, score, bit), other_where = __shfl_xor_sync(EVERY_LANE, where, bit);
                rival = max(max(rival, __shfl_xor_sync(EVERY_LANE, rival, bit)), min(score, other));
                deep = max(deep, __shfl_xor_sync(EVERY_LANE, deep, bit));
                if (other > score || (other == score && other_where < where)) score = other, where = other_where;
            }
            int chunk = __shfl_sync(EVERY_LANE, kept.chunk, 4 * quad + where);

            // the codes of the best group, a quarter of them in each lane
            double least = __longlong_as_double(0x7ff0000000000000ll);
            int code = 0x7fffffff;
            for (int step = place; step < GROUP; step += 4)
                for (int column = 0; column < 2; column++)
                    try_code(here, codes, code_squares, chunk * CHUNK + step * 8 + where * 2 + column, size, least, code);
            least_of(least, code, 2);

            // where another group comes too near, that is not enough
            float squares = squared_length(here), length = sqrtf(squares) + LEAST_LENGTH, far = reach(squares, rounding);
            float margin = rounding.relative * far + rounding.squared * length * length
                           + rounding.tiny * (1 + length + rounding.radius);
            float limit = __int_as_float(score) - margin;
            bool is_trusted = far < LARGEST_SCORE;
            bool is_clear = is_trusted && __int_as_float(rival) < limit;
            bool is_deep = !(is_trusted && __int_as_float(deep) < limit);
            unsigned doubtful = __ballot_sync(EVERY_LANE, !is_clear && row < count);
            while (doubtful) {
                int chosen = (__ffs(doubtful) - 1) / 4;
                int its_row = __shfl_sync(EVERY_LANE, row, 4 * chosen);
                bool is_its = __shfl_sync(EVERY_LANE, (int)is_deep, 4 * chosen);
                int found = settled(z + (long long)its_row * DIMENSION, codes, code_squares, size, chosen, kept.chunk, is_its);
                if (quad == chosen) code = found;
                doubtful &= ~(15u << (4 * chosen));
            }
            if (place == 0 && row < count) indices[row] = code;
        }
}
