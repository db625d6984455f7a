/* Levels of quantisation: latents to the nearest codes, and codes back to latents. */
#include "kernels.h"
#include "team.h"

#define VECTORS_AT_ONCE 64
#define MOST_DIMENSIONS 256

typedef struct {
    const Level *level;
    const Grid *grid;
    int32_t *tokens;
    float *distances;
} LookUp;

/* What is looked up for the latents x (count, stride): (count, D padded to 16). */
static void project(const Level *level, const float *x, int32_t stride, int32_t count, float *vectors) {
    const int32_t width = (level->dimension + 15) / 16 * 16;
    const int32_t made = level->dimension - (level->lookup == VQ_LIFTED);
    float block[VECTORS_AT_ONCE * 16];
    for (int32_t first = 0; first < width; first += 16) {
        const Finish task = {.bias = level->bias + first, .to = vectors + first, .stride = width};
        vq_kernels()->multiply(x, stride, level->channels, count, level->project + (int64_t)first * level->channels,
                               block);
        vq_kernels()->finish(&task, block, count);
    }
    for (int32_t row = 0; row < count && level->lookup != VQ_EUCLIDEAN; row++) {
        float *z = vectors + (int64_t)row * width, squares = 0;
        if (level->lookup == VQ_LIFTED) {
            for (int32_t d = 0; d < made; d++) z[d] = (z[d] - level->mean[d]) * level->inverse_deviation;
            z[made] = level->lift;
        }
        for (int32_t d = 0; d < level->dimension; d++) squares = squares + z[d] * z[d];
        float length = __builtin_sqrtf(squares);
        length = length > 1e-12f ? length : 1e-12f;
        for (int32_t d = 0; d < level->dimension; d++) z[d] = z[d] / length;
    }
}

static void look_up(Team *team, int member, void *context) {
    const LookUp *task = context;
    const Level *level = task->level;
    const Grid *grid = task->grid;
    const int32_t width = (level->dimension + 15) / 16 * 16;
    const int32_t codes_stride = (level->codes + 15) / 16 * 16;
    const int64_t all = (int64_t)grid->rows * grid->cols;
    float vectors[VECTORS_AT_ONCE * MOST_DIMENSIONS];
    (void)member;
    for (int64_t first = (int64_t)team_next(team) * VECTORS_AT_ONCE; first < all;
         first = (int64_t)team_next(team) * VECTORS_AT_ONCE) {
        const int32_t count = (int32_t)(all - first < VECTORS_AT_ONCE ? all - first : VECTORS_AT_ONCE);
        const float *x = grid->values + first * grid->stride;
        project(level, x, grid->stride, count, vectors);
        if (task->distances)
            vq_kernels()->distances(vectors, width, count, level->code_vectors, level->dimension, codes_stride,
                                    level->codes, task->distances + first * level->codes);
        else
            vq_kernels()->nearest(vectors, width, count, level->code_vectors, level->dimension, codes_stride,
                                  task->tokens + first);
    }
}

static int32_t checked(const Level *level, const Grid *grid) {
    return level->channels == grid->channels && level->dimension >= 1 && level->dimension <= MOST_DIMENSIONS;
}

EXPORTED(int32_t, vq_tokens)(const Level *level, const Grid *grid, int32_t *tokens, int32_t threads) {
    LookUp task = {level, grid, tokens, 0};
    if (!checked(level, grid)) return -1;
    vq_kernels();
    team_run(threads, look_up, &task);
    return 0;
}

EXPORTED(int32_t, vq_distances)(const Level *level, const Grid *grid, float *distances, int32_t threads) {
    LookUp task = {level, grid, 0, distances};
    if (!checked(level, grid)) return -1;
    vq_kernels();
    team_run(threads, look_up, &task);
    return 0;
}

EXPORTED(void, vq_add_codes)(const Level *level, const int32_t *tokens, int32_t stride, Grid *grid, int32_t first) {
    const uint64_t before = plain_arithmetic();
    const int32_t token_cols = (grid->cols + stride - 1) / stride;
    for (int32_t row = 0; row < grid->rows; row++) {
        for (int32_t col = 0; col < grid->cols; col++) {
            float *to = grid->values + ((int64_t)row * grid->cols + col) * grid->stride;
            const int32_t token = tokens[(int64_t)(row / stride) * token_cols + col / stride];
            const float *code = level->table + (int64_t)token * grid->stride;
            if (token < 0)
                for (int32_t c = 0; c < grid->stride; c++) to[c] = first ? 0 : to[c];
            else
                for (int32_t c = 0; c < grid->stride; c++) to[c] = first ? code[c] : to[c] + code[c];
        }
    }
    restore_arithmetic(before);
}
