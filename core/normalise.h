/* ChannelNorm. Included by unit.h. */

/* Sixteen sums, of channels 0, 16, ..., of 1, 17, ..., to one: halves are added to halves. */
INLINE float folded(const float sums[BLOCK]) {
    float s[BLOCK];
    for (int c = 0; c < BLOCK; c++) s[c] = sums[c];
    for (int half = BLOCK / 2; half; half /= 2)
        for (int c = 0; c < half; c++) s[c] = s[c] + s[c + half];
    return s[0];
}

static void normalise(const float *x, float *y, int64_t count, int32_t channels, int32_t stride, const float *gain,
                      const float *shift) {
    float mask[BLOCK]; /* of the last block: 1 where there is a channel */
    for (int c = 0; c < BLOCK; c++) mask[c] = stride - BLOCK + c < channels;
    for (int64_t position = 0; position < count; position++, x += stride, y += stride) {
        float sums[BLOCK];
        Floats partial[VECTORS];
        UNROLL
        for (int v = 0; v < VECTORS; v++) partial[v] = (Floats){0};
        for (int32_t c = 0; c < stride; c += BLOCK) {
            UNROLL
            for (int v = 0; v < VECTORS; v++) partial[v] = partial[v] + loaded(x + c + v * LANES);
        }
        UNROLL
        for (int v = 0; v < VECTORS; v++) store(sums + v * LANES, partial[v]);
        const float mean = folded(sums) / (float)channels;
        UNROLL
        for (int v = 0; v < VECTORS; v++) partial[v] = (Floats){0};
        for (int32_t c = 0; c < stride; c += BLOCK) {
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                Floats d = loaded(x + c + v * LANES) - mean;
                if (c + BLOCK == stride) d = d * loaded(mask + v * LANES);
                partial[v] = partial[v] + d * d;
            }
        }
        UNROLL
        for (int v = 0; v < VECTORS; v++) store(sums + v * LANES, partial[v]);
        const float scale = 1.0f / __builtin_sqrtf(folded(sums) / (float)channels + 1e-5f);
        for (int32_t c = 0; c < stride; c += LANES)
            store(y + c, ((loaded(x + c) - mean) * scale) * loaded(gain + c) + loaded(shift + c));
    }
}
