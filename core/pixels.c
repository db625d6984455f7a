/* 8-bit pixels <-> numbers in [-1, 1]. */
#include "team.h"
#include "vqcore.h"

/* The row or column that stands for x, beyond the last one up to a multiple: reflected there, or the last one again where
   there are too few to reflect. */
static int32_t within(int32_t x, int32_t length, int32_t multiple) {
    const int32_t beyond = (multiple - length % multiple) % multiple;
    if (x < length) return x;
    return beyond < length && x < length + beyond ? 2 * (length - 1) - x : length - 1;
}

EXPORTED(void, vq_from_pixels)(const uint8_t *picture, int32_t height, int32_t width, int32_t multiple, int32_t top,
                                    int32_t left, Grid *grid) {
    const uint64_t before = plain_arithmetic();
    float scaled[256];
    for (int value = 0; value < 256; value++) scaled[value] = (float)value / 127.5f - 1.0f;
    for (int32_t row = 0; row < grid->rows; row++) {
        const uint8_t *line = picture + (int64_t)within(top + row, height, multiple) * width * 3;
        float *to = grid->values + (int64_t)row * grid->cols * 3;
        for (int32_t col = 0; col < grid->cols; col++) {
            const uint8_t *pixel = line + (int64_t)within(left + col, width, multiple) * 3;
            for (int c = 0; c < 3; c++) *to++ = scaled[pixel[c]];
        }
    }
    restore_arithmetic(before);
}

/* What is no number is mid-gray. */
static uint8_t level_of(float x) {
    float y = (x + 1.0f) * 127.5f;
    y = y == y ? y : 127.5f;
    y = y < 0 ? 0 : y > 255 ? 255 : y;
    return (uint8_t)((y + 12582912.0f) - 12582912.0f); /* to the nearest, the even one of two */
}

EXPORTED(void, vq_to_pixels)(const Grid *grid, int32_t top, int32_t left, int32_t rows, int32_t cols, uint8_t *part,
                             int32_t width) {
    const uint64_t before = plain_arithmetic();
    for (int32_t row = 0; row < rows; row++) {
        const float *from = grid->values + ((int64_t)(top + row) * grid->cols + left) * 3;
        uint8_t *to = part + (int64_t)row * width * 3;
        for (int64_t number = 0; number < (int64_t)cols * 3; number++) to[number] = level_of(from[number]);
    }
    restore_arithmetic(before);
}
