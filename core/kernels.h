/* What is compiled once for each unit of the processor: see unit.h. Internal. */
#ifndef VQ_KERNELS_H
#define VQ_KERNELS_H

#include "context.h"
#include "prior.h"
#include "vqcore.h"

/* Inputs of a convolution with VQ_ZEROS, at most. */
#define MOST_ZEROS 1024

/* A 3 x 3 convolution at work. x: the input, normalised; added: null, or of the shape of y. */
typedef struct {
    Grid x, y;
    const float *weight, *bias, *added;
    int32_t flags;
} Convolution3;

/* Where outputs go: what `made` (count, 16) of one block of outputs becomes, row by row. */
typedef struct {
    const float *bias, *added;
    float *to;
    int64_t stride; /* floats between two rows, of `to` and `added` */
    int32_t silu;
} Finish;

typedef struct {
    const char *name;
    /* rows of x are computed so many at a time */
    int32_t rows_at_once;
    /* ChannelNorm of `count` positions */
    void (*normalise)(const float *x, float *y, int64_t count, int32_t channels, int32_t stride, const float *gain,
                      const float *shift);
    /* made[n][16] = sum over k ascending of x[n][k] * weight[k][16]; stride: floats between two rows of x */
    void (*multiply)(const float *x, int64_t stride, int32_t inputs, int64_t count, const float *weight, float *made);
    /* tiles first..first + count of 2 x 2 outputs, in raster order; workspace: see winograd_floats */
    void (*convolve3)(const Convolution3 *task, int64_t first, int32_t count, float *workspace);
    void (*finish)(const Finish *task, const float *made, int64_t count);
    /* the nearest of the codes (D, codes_stride) to each of the vectors (count, stride) */
    void (*nearest)(const float *vectors, int32_t stride, int64_t count, const double *codes, int32_t dimension,
                    int32_t codes_stride, int32_t *nearest);
    void (*distances)(const float *vectors, int32_t stride, int64_t count, const double *codes, int32_t dimension,
                      int32_t codes_stride, int32_t code_count, float *distances);
    /* the prior: states of a piece, slots first..first + count; logits of slots n..n + count of it, at most TILE;
       frequencies (codes padded to 16) of one row of logits, which change, by a table of range + 1 exponentials */
    void (*run_blocks)(const LevelAtWork *at, int32_t first, int32_t count);
    void (*run_head)(const LevelAtWork *at, int32_t n, int32_t count);
    void (*make_frequencies)(const int32_t *exponentials, int32_t range, float *logits, int32_t codes,
                             int32_t *frequencies);
    /* the context network: a row of a grid of what positions are told, through a block; logits of `count` positions of
       one group, at most TILE */
    void (*run_context_row)(const ContextAtWork *at, const ContextBlock *block, const int8_t *from, int8_t *to,
                            int32_t row);
    void (*run_context_head)(const ContextAtWork *at, const int8_t *told, const int32_t *positions, int32_t count);
} Kernels;

/* The one in use. */
const Kernels *vq_kernels(void);

static inline int64_t winograd_floats(int32_t inputs, int32_t count) {
    return 16 * (int64_t)count * (whole_blocks(inputs) + 16);
}

#endif
