/* Weights in the order in which the kernels read them: blocks of 16 outputs, whose weights for one input lie together. */
#include "kernels.h"

static int64_t blocks_of(int64_t outputs) { return (outputs + 15) / 16; }

static int64_t lapped_outputs(const Layer *layer) {
    const int64_t side = layer->factor + 2 * layer->lap;
    return layer->outputs * side * side;
}

EXPORTED(int64_t, vq_packed_size)(const Layer *layer) {
    const int64_t f2 = (int64_t)layer->factor * layer->factor, block = 16 * (int64_t)layer->inputs;
    switch (layer->kind) {
    case VQ_CONVOLVE3: return blocks_of(layer->outputs) * 16 * block;
    case VQ_CONVOLVE1: return f2 * blocks_of(layer->outputs) * block;
    case VQ_PATCHES: return blocks_of(layer->outputs) * f2 * block;
    case VQ_LAPPED: return blocks_of(lapped_outputs(layer)) * block;
    default: return 0;
    }
}

/* Three weights g of a row or column to four. */
static void widened(const float g[3], float u[4]) {
    u[0] = g[0];
    u[1] = 0.5f * ((g[0] + g[1]) + g[2]);
    u[2] = 0.5f * ((g[0] - g[1]) + g[2]);
    u[3] = g[2];
}

static void pack_winograd(const Layer *layer, const float *weight, float *packed) {
    const int64_t inputs = layer->inputs;
    for (int64_t output = 0; output < layer->outputs; output++) {
        for (int64_t input = 0; input < inputs; input++) {
            const float *g = weight + (output * inputs + input) * 9;
            float tall[4][3], column[3], four[4];
            for (int col = 0; col < 3; col++) {
                for (int row = 0; row < 3; row++) column[row] = g[row * 3 + col];
                widened(column, four);
                for (int row = 0; row < 4; row++) tall[row][col] = four[row];
            }
            for (int row = 0; row < 4; row++) {
                widened(tall[row], four);
                for (int col = 0; col < 4; col++)
                    packed[(((output / 16) * 16 + row * 4 + col) * inputs + input) * 16 + output % 16] = four[col];
            }
        }
    }
}

/* Outputs (c, a, b) of a factor f become f x f groups (a, b) of outputs c. */
static void pack_groups(const Layer *layer, const float *weight, float *packed) {
    const int64_t f = layer->factor, inputs = layer->inputs, blocks = blocks_of(layer->outputs);
    for (int64_t output = 0; output < layer->outputs * f * f; output++) {
        const int64_t channel = output / (f * f), group = output % (f * f);
        float *to = packed + ((group * blocks + channel / 16) * inputs) * 16 + channel % 16;
        for (int64_t input = 0; input < inputs; input++) to[input * 16] = weight[output * inputs + input];
    }
}

/* Inputs (c, a, b) in the order (a, b, c), in which patches are read. */
static void pack_patches(const Layer *layer, const float *weight, float *packed) {
    const int64_t f2 = (int64_t)layer->factor * layer->factor, channels = layer->inputs, inputs = f2 * channels;
    for (int64_t output = 0; output < layer->outputs; output++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t place = 0; place < f2; place++)
                packed[(output / 16 * inputs + place * channels + c) * 16 + output % 16] =
                    weight[(output * channels + c) * f2 + place];
}

static void pack_lapped(const Layer *layer, const float *weight, float *packed) {
    const int64_t outputs = lapped_outputs(layer);
    for (int64_t input = 0; input < layer->inputs; input++)
        for (int64_t output = 0; output < outputs; output++)
            packed[(output / 16 * layer->inputs + input) * 16 + output % 16] = weight[input * outputs + output];
}

EXPORTED(void, vq_pack)(const Layer *layer, const float *weight, float *packed) {
    for (int64_t number = vq_packed_size(layer) - 1; number >= 0; number--) packed[number] = 0;
    switch (layer->kind) {
    case VQ_CONVOLVE3: pack_winograd(layer, weight, packed); break;
    case VQ_CONVOLVE1: pack_groups(layer, weight, packed); break;
    case VQ_PATCHES: pack_patches(layer, weight, packed); break;
    case VQ_LAPPED: pack_lapped(layer, weight, packed); break;
    default: break;
    }
}
