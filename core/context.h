/* What context.c and the kernels of the context network share. Internal. */
#ifndef VQ_CONTEXT_H
#define VQ_CONTEXT_H

#include "vqcore.h"

#define CONTEXT_GROUPS 4

/* Where a token of a group is told of another one. */
typedef struct {
    int32_t down, right;
} ContextOffset;

/* row, col: what the rows and columns of its tokens are modulo 2. */
typedef struct {
    int32_t row, col, count;
    ContextOffset offsets[8];
} ContextGroup;

extern const ContextGroup vq_context_groups[CONTEXT_GROUPS];

/* One level and the memory of one thread for it. small: Small, of which the kernels know the size. */
typedef struct {
    const ContextNetwork *network;
    const ContextGrid *grids;
    int32_t level, group;
    void *rows;            /* small (3, cols + 2, C) */
    void *inputs, *hidden; /* small (TILE, most that goes in) */
    float *logits;         /* (TILE, codes) */
} ContextAtWork;

#endif
