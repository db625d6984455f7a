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

typedef float Outputs[16];

/* Three weights of a row or column to four, of sixteen outputs. */
static void widened(const float *g0, const float *g1, const float *g2, Outputs u[4]) {
    for (int o = 0; o < 16; o++) {
        u[0][o] = g0[o];
        u[1][o] = 0.5f * ((g0[o] + g1[o]) + g2[o]);
        u[2][o] = 0.5f * ((g0[o] - g1[o]) + g2[o]);
        u[3][o] = g2[o];
    }
}

static void pack_winograd(const Layer *layer, const float *weight, float *packed) {
    const int64_t inputs = layer->inputs;
    for (int64_t block = 0; block < blocks_of(layer->outputs); block++) {
        const int64_t first = block * 16, there = layer->outputs - first < 16 ? layer->outputs - first : 16;
        for (int64_t input = 0; input < inputs; input++) {
            Outputs g[9] = {{0}}, tall[3][4], four[4];
            for (int64_t o = 0; o < there; o++)
                for (int place = 0; place < 9; place++) g[place][o] = weight[((first + o) * inputs + input) * 9 + place];
            for (int col = 0; col < 3; col++) widened(g[col], g[3 + col], g[6 + col], tall[col]);
            for (int row = 0; row < 4; row++) {
                widened(tall[0][row], tall[1][row], tall[2][row], four);
                for (int col = 0; col < 4; col++) {
                    float *to = packed + ((block * 16 + row * 4 + col) * inputs + input) * 16;
                    for (int o = 0; o < 16; o++) to[o] = four[col][o];
                }
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
    const int64_t size = layer->kind == VQ_CONVOLVE3 ? 0 : vq_packed_size(layer); /* of which all are written */
    for (int64_t number = 0; number < size; number++) packed[number] = 0;
    switch (layer->kind) {
    case VQ_CONVOLVE3: pack_winograd(layer, weight, packed); break;
    case VQ_CONVOLVE1: pack_groups(layer, weight, packed); break;
    case VQ_PATCHES: pack_patches(layer, weight, packed); break;
    case VQ_LAPPED: pack_lapped(layer, weight, packed); break;
    default: break;
    }
}
