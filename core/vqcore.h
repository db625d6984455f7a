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
#define VQ_CORE_VERSION 1
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
    VQ_DIFFERENCE,    /* from - second, as VQ_SUM */
    VQ_SHIFT          /* from + the first position of second, everywhere */
};
enum {
    VQ_NORMALISED = 1, /* ChannelNorm of the input first */
    VQ_SILU = 2,       /* SiLU of what comes out */
    VQ_ADDED = 4,      /* register `second` is added to what comes out */
    VQ_ZEROS = 8       /* zeros beyond the border, in the place of the last row or column again */
};

/* weight, bias, gain, shift: where they begin among the network's floats; bias, gain and shift are padded to multiples
   of 16 with zeros, but for the bias of a VQ_LAPPED (3). from, second, to: registers, of 16; `to` is none of those that are
   read, but the one that is added, one of a VQ_SUM or VQ_DIFFERENCE of the same size, or `from` of a
   VQ_SHIFT. */
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
/* Adds what the tokens (ceil(rows / stride), ceil(cols / stride)) give back to a grid, or puts it there if `first`. */
void vq_add_codes(const Level *level, const int32_t *tokens, int32_t stride, Grid *grid, int32_t first);

#endif
