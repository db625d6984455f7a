/* What prior.c and the kernels of the prior share. Internal. */
#ifndef VQ_PRIOR_H
#define VQ_PRIOR_H

#include "memory.h"
#include "vqcore.h"

/* Tokens whose activations are at work together. */
#define TILE 32
#define MOST_LEVELS 16
#define GELU_LIMIT 511
#define MOST_RADIUS 8
/* Strips of columns that a token looks at: of 4 columns in the most rows, if lanes are as few. */
#if defined(VQ_SCALAR)
#define MOST_STRIPS (17 * 18)
#else
#define MOST_STRIPS (17 * 5)
#endif
/* Columns of the window that are there twice, so that no strip ends within it. */
#define MIRRORED 16
/* Numbers of unused memory before and after the rows of `relative`. */
#define RELATIVE_MARGIN 16
#define SPACINGS 8

/* Some columns next to each other of one row, of which a token looks at those in `bits`. */
typedef struct {
    int64_t keys, values; /* where its first column is in the window */
    int32_t relative;     /* place in a row of `relative` */
    uint32_t bits;
} Strip;

/* Memory of one level at work. small: Small, of which the kernels know the size. */
typedef struct {
    float *state;              /* (n, width) of one piece */
    void *queries;             /* small (n, heads head_width) */
    void *projected, *inputs;  /* small (TILE, most that goes in) */
    float *logits;             /* (TILE, codes) */
    int32_t *frequencies;      /* (codes) */
    uint8_t *keys;             /* (depth, window_rows, heads head_width / 4, window_cols + MIRRORED, 4) */
    int16_t *values;           /* (depth, window_rows, (window_cols + MIRRORED) / 2, heads head_width, 2) */
    Strip *strips;             /* (TILE, MOST_STRIPS) */
    int32_t *strip_counts;     /* (TILE) */
} PriorWork;

/* All levels up to the one at work. */
typedef struct {
    const Prior *prior;
    const PriorGrid *grids;
    int32_t level;
    PriorWork work;
} LevelAtWork;

static inline int32_t whole_blocks(int32_t channels) { return (channels + 15) / 16 * 16; }
/* Channels of a head with unused ones. */
static inline int32_t head_width(const Prior *prior) { return whole_blocks(prior->width / prior->heads); }
static inline int32_t around_width(int32_t token_width) { return (token_width + 3) / 4 * 4; }
/* Of all that goes into a linear map in one level. */
static inline int32_t most_inputs(const Prior *prior, int32_t level) {
    int32_t most = prior->blocks[0].widen.outputs;
    const int32_t around = around_width(prior->token_width), below = 3 * level * around;
    const int32_t projected = 3 * prior->heads * head_width(prior);
    most = around > most ? around : most; /* of level 0, which has none below */
    most = below > most ? below : most;
    return projected > most ? projected : most;
}

#endif
