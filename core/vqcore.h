/* The core of vqcodec: exact arithmetic of compact models, the same bits on every processor.

   C11 without dependencies: no allocation, no libm; threads only in team.c. What each function computes, and in which
   order, is the chapter "Pixels" of docs/format.md. */
#ifndef VQCORE_H
#define VQCORE_H

#include <stdint.h>

#if defined(__wasm__)
#define EXPORTED(type, name) __attribute__((export_name(#name))) type name
#else
#define EXPORTED(type, name) __attribute__((visibility("default"))) type name
#endif

/* Changes whenever the meaning of an exported function does. */
#define VQ_CORE_VERSION 4
int32_t vq_core_version(void);

/* The unit of the processor that computes, of those that vq_unit_name lists from 0 on (null beyond the last): the best
   one by default. vq_unit_choose answers 0, or -1 for a name that is not there. */
const char *vq_unit_name(int32_t number);
const char *vq_unit(void);
int32_t vq_unit_choose(const char *name);

/* ---- networks ---- */

/* Numbers (rows, cols, channels), position by position, each of `stride` floats: as many as channels for pixels,
   which VQ_SPREAD and VQ_LAPPED give and VQ_GATHER and VQ_PATCHES take; else the next multiple of 16, the last ones being
   zeros. */
typedef struct {
    int32_t rows, cols, channels, stride;
    float *values;
} Grid;

enum {
    VQ_CONVOLVE3 = 1, /* 3 x 3, by Winograd's F(2 x 2, 3 x 3) */
    VQ_CONVOLVE1,     /* 1 x 1; with a factor f the outputs are of f x f positions */
    VQ_PATCHES,       /* f x f with stride f */
    VQ_GATHER,        /* space to depth, f x f pixels */
    VQ_SPREAD,        /* depth to space, f x f pixels */
    VQ_LAPPED,        /* transposed convolution of patches of f + 2 lap pixels with stride f */
    VQ_JOIN,          /* channels of `from`, then of `second` */
    VQ_SUM,           /* from + second, what lies beyond either one left out */
    VQ_DIFFERENCE     /* from - second, as VQ_SUM */
};
enum {
    VQ_NORMALISED = 1, /* ChannelNorm of the input first */
    VQ_SILU = 2,       /* SiLU of what comes out */
    VQ_ADDED = 4,      /* register `second` is added to what comes out */
    VQ_ZEROS = 8       /* zeros beyond the border, in the place of the last row or column again */
};

/* weight, bias, gain, shift: where they begin among the network's floats; bias, gain and shift are padded to multiples
   of 16 with zeros, but for the bias of a VQ_LAPPED (3). from, second, to: registers, of 16; `to` is none of those that are
   read, but the one that is added, or one of a VQ_SUM or VQ_DIFFERENCE of the same size. */
typedef struct {
    int32_t kind, from, second, to, inputs, outputs, factor, lap, flags, unused;
    int64_t weight, bias, gain, shift;
} Layer;

/* Floats of a weight when it is packed. */
int64_t vq_packed_size(const Layer *layer);
/* weight: as torch holds it: (outputs, inputs, side, side), for VQ_LAPPED (inputs, outputs, side, side). */
void vq_pack(const Layer *layer, const float *weight, float *packed);

/* The shapes of all registers at the end, from those of the registers that are given (rows > 0), and how many floats
   each needs at most. Returns the floats of workspace for so many threads, or -1 if layers and shapes do not fit. */
int64_t vq_plan(const Layer *layers, int32_t count, Grid *registers, int64_t *floats, int32_t threads);
/* Runs a network that was planned; registers: with the shapes of those given, and memory for all. */
int32_t vq_run(const Layer *layers, int32_t count, const float *weights, Grid *registers, float *workspace,
               int32_t threads);

/* Pixels of an 8-bit picture (height, width, 3) from (top, left) on to a grid in [-1, 1]. Beyond its right and its lower
   border, up to multiples of `multiple`, the picture is reflected, or its last pixels repeated if it is too small. */
void vq_from_pixels(const uint8_t *picture, int32_t height, int32_t width, int32_t multiple, int32_t top, int32_t left,
                    Grid *grid);
/* Part of a grid, in [-1, 1] or so: rows x cols from (top, left) on to a part of a picture that is `width` wide. */
void vq_to_pixels(const Grid *grid, int32_t top, int32_t left, int32_t rows, int32_t cols, uint8_t *part,
                  int32_t width);

/* ---- levels of quantisation ---- */

enum { VQ_EUCLIDEAN = 0, VQ_UNIT = 1, VQ_LIFTED = 2 };

/* A level: K codes of D dimensions, looked up for latents of C channels.
   project: packed as of a VQ_CONVOLVE1 of C inputs, with its bias (outputs padded to 16); D outputs, or D - 1 if lifted.
   codes: (D, K padded to 16) doubles. table: (K, C) what each code gives back, C padded to 16. */
typedef struct {
    int32_t codes, dimension, channels, lookup;
    float inverse_deviation, lift;
    const float *project, *bias, *mean;
    const double *code_vectors;
    const float *table;
} Level;

/* Tokens (rows cols) of a grid: those of the nearest codes. */
int32_t vq_tokens(const Level *level, const Grid *grid, int32_t *tokens, int32_t threads);
/* Squared distances (rows cols, K) of each code from the vectors of a grid. */
int32_t vq_distances(const Level *level, const Grid *grid, float *distances, int32_t threads);
/* Adds what the tokens (ceil(rows / stride), ceil(cols / stride)) give back to a grid, or puts it there if `first`. Those
   below 0 give nothing. */
void vq_add_codes(const Level *level, const int32_t *tokens, int32_t stride, Grid *grid, int32_t first);

/* ---- the range coder ---- */

/* Tokens by frequencies, those of each token `stride` after those before, 0 for one table: codes numbers, 1 or more, that
   sum to 2^24. Encodes to a payload, for which 4 count + 16 bytes must be there, and returns its length. */
int64_t vq_range_encode(const int32_t *frequencies, int64_t stride, const int32_t *tokens, int64_t count,
                        uint8_t *payload);
/* Returns -1 for a payload that no encoder writes. */
int32_t vq_range_decode(const int32_t *frequencies, int64_t stride, int32_t codes, const uint8_t *payload,
                        int64_t payload_bytes, int32_t *tokens, int64_t count);

/* ---- the prior ---- */

/* x (inputs) -> rint(sum(weight x) * scale + offset). inputs: a multiple of 4; outputs: of 16. weight: packed. */
typedef struct {
    const uint8_t *weight;
    const float *scale, *offset;
    int32_t inputs, outputs;
} IntegerLinear;

/* W: channels of a head, padded to a multiple of 16. into: to (3, heads, W); out: from (heads, W).
   gelu: of -511..511. */
typedef struct {
    float attention_gain, mlp_gain, value_scale, unused;
    const float *logit_scale;
    const int32_t *gelu;
    IntegerLinear into, out, widen, narrow;
} PriorBlock;

/* E: token_width padded to a multiple of 4. around: (around_count, 2) rows down and columns right; near: from E, one for
   each of them. tokens: (codes + 1, E), the last for what is unknown. below: three from (3, level, E), null for level 0.
   start: (width padded to 16). */
typedef struct {
    int32_t codes, around_count;
    const int32_t *around;
    const int8_t *tokens;
    const float *start;
    const IntegerLinear *near, *below;
    IntegerLinear head;
} PriorLevel;

/* relative: (heads, 16 + (2 radius + 1)^2 + 16), of which 16 at either end are unused. spacings: (8, width padded to 16).
   attention_exponentials: (attention_range + 1), the last 0; token_exponentials: (token_range + 1). */
typedef struct {
    int32_t width, depth, heads, radius, token_width, level_count, attention_range, token_range;
    float head_gain;
    int32_t unused;
    const PriorBlock *blocks;
    const PriorLevel *levels;
    const int32_t *attention_exponentials, *token_exponentials;
    const float *relative, *spacings;
} Prior;

/* One level of a picture: N = rows cols tokens in an order. A piece is what is computed at once: one group, or several
   where all tokens are known, of largest_piece tokens at most. starts: (pieces + 1), the first 0 and the last N. positions: (N) row cols + col.
   ranks: (N) the group of each position, from 0 on. spacings: (N), in order.
   window_rows, window_cols: what of the grid is kept, in which row and column are counted round; window_cols: even, 16 or
   more. No token that is kept may give way to one of a piece that still looks at it.
   tokens: (N) by position; a value that is no token counts as unknown. payload: of payload_bytes; an encoder needs room
   for 4 N + 16. coded: (N) by position, 0 where no token is coded, which is `filler` then; null where all are. */
typedef struct {
    int32_t rows, cols, pieces, largest_piece, window_rows, window_cols;
    const int32_t *starts, *positions, *ranks, *spacings;
    int32_t *tokens;
    uint8_t *payload;
    int64_t payload_bytes;
    const uint8_t *coded;
    int32_t filler, unused;
} PriorGrid;

/* Bytes of a weight (outputs, inputs) when it is packed, and packing it. */
int64_t vq_integers_size(int32_t outputs, int32_t inputs);
void vq_integers_pack(const int8_t *weight, int32_t outputs, int32_t inputs, uint8_t *packed);

/* All functions of the prior take the grids of the first `count` levels, all of one shape, and work on those from `first`
   on; of the levels before the tokens are known. They return -1 if something does not fit.

   Bytes of workspace for so many threads. */
int64_t vq_prior_workspace(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count, int32_t threads);
/* Tokens from payloads; pieces must be groups. -1 also for a payload that no encoder writes. */
int32_t vq_prior_decode(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count, void *workspace,
                        int32_t threads);
/* Payloads from tokens, and payload_bytes. */
int32_t vq_prior_encode(const Prior *prior, PriorGrid *grids, int32_t first, int32_t count, void *workspace,
                        int32_t threads);
/* Frequencies (n, codes) of the n tokens of a piece of one level, where the tokens before it are known. All pieces before
   must have been asked for, in order, with the same workspace, that of this level alone. */
int32_t vq_prior_frequencies(const Prior *prior, const PriorGrid *grids, int32_t level, int32_t piece, void *workspace,
                             int32_t *frequencies);

/* ---- the context network ---- */

/* C: channels, padded to a multiple of 16. around: from (3, 3, C), row by row of what is around; point: from C. */
typedef struct {
    IntegerLinear around, point;
} ContextBlock;

/* T: token_width padded to a multiple of 4. start: (C), for level 0. below: of each coarser level, (its codes, C), and
   repeats: how many tokens of this level, along a side, hang on one of it. tokens: (codes + 1, T), the last for what
   lies outside. near: of the second to the fourth group, from (tokens that it is told, T). */
typedef struct {
    int32_t codes, coarser;
    const int8_t *start;
    const int8_t *const *below;
    const int32_t *repeats;
    const ContextBlock *blocks;
    const int8_t *tokens;
    const IntegerLinear *near;
    IntegerLinear inner, head;
} ContextLevel;

/* levels: level_count, of which those before `first` have their codes alone. token_exponentials: (token_range + 1). */
typedef struct {
    int32_t channels, token_width, block_count, first, level_count, token_range;
    const ContextLevel *levels;
    const int32_t *token_exponentials;
} ContextNetwork;

/* One level of a picture. tokens: (rows, cols). payload, coded, filler: as of a PriorGrid. */
typedef struct {
    int32_t rows, cols;
    int32_t *tokens;
    uint8_t *payload;
    int64_t payload_bytes;
    const uint8_t *coded;
    int32_t filler, unused;
} ContextGrid;

/* All functions of the context network take the grids of the first `count` levels and work on those from `first` on; of the
   levels before the tokens are known. They return -1 if something does not fit.

   Bytes of workspace for so many threads. */
int64_t vq_context_workspace(const ContextNetwork *network, const ContextGrid *grids, int32_t first, int32_t count,
                             int32_t threads);
/* Tokens from payloads. -1 also for a payload that no encoder writes. */
int32_t vq_context_decode(const ContextNetwork *network, ContextGrid *grids, int32_t first, int32_t count,
                          void *workspace, int32_t threads);
/* Payloads from tokens, and payload_bytes. */
int32_t vq_context_encode(const ContextNetwork *network, ContextGrid *grids, int32_t first, int32_t count,
                          void *workspace, int32_t threads);
/* What the last of `count` levels is told of those before it, to the workspace of that level. */
int32_t vq_context_begin(const ContextNetwork *network, const ContextGrid *grids, int32_t count, void *workspace,
                         int32_t threads);
/* Then, with the same workspace: frequencies (n, codes) of n positions of one group, of which those before are known. */
int32_t vq_context_frequencies(const ContextNetwork *network, const ContextGrid *grids, int32_t count,
                               const int32_t *positions, int32_t n, void *workspace, int32_t *frequencies);

#endif
