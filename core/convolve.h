/* Convolutions as products of matrices: rows of x times blocks of 16 outputs. Included by unit.h. */

/* Accumulators stay in registers: 12 vectors, beside those of the weights and one of x. */
#define COLUMNS (VECTORS < 2 ? 1 : 2)
#define ROWS (12 / COLUMNS)

INLINE void multiply_some(const float *x, int64_t stride, int32_t inputs, const float *weight, float *made,
                          const int rows) {
    for (int column = 0; column < VECTORS; column += COLUMNS) {
        Floats sums[ROWS][COLUMNS];
        UNROLL
        for (int row = 0; row < rows; row++) {
            UNROLL
            for (int c = 0; c < COLUMNS; c++) sums[row][c] = (Floats){0};
        }
        const float *w = weight + column * LANES;
        for (int32_t k = 0; k < inputs; k++, w += BLOCK) {
            Floats weights[COLUMNS];
            UNROLL
            for (int c = 0; c < COLUMNS; c++) weights[c] = loaded(w + c * LANES);
            UNROLL
            for (int row = 0; row < rows; row++) {
                const float each = x[row * stride + k];
                UNROLL
                for (int c = 0; c < COLUMNS; c++) sums[row][c] = sums[row][c] + weights[c] * each;
            }
        }
        UNROLL
        for (int row = 0; row < rows; row++) {
            UNROLL
            for (int c = 0; c < COLUMNS; c++) store(made + row * BLOCK + (column + c) * LANES, sums[row][c]);
        }
    }
}

static void multiply(const float *x, int64_t stride, int32_t inputs, int64_t count, const float *weight, float *made) {
    int64_t row = 0;
    for (; row + ROWS <= count; row += ROWS)
        multiply_some(x + row * stride, stride, inputs, weight, made + row * BLOCK, ROWS);
    for (; row + 4 <= count; row += 4)
        multiply_some(x + row * stride, stride, inputs, weight, made + row * BLOCK, 4);
    for (; row < count; row++) multiply_some(x + row * stride, stride, inputs, weight, made + row * BLOCK, 1);
}

/* exp(x) for x in -87..88: 2^n by the exponent's bits, the rest by a polynomial (Cephes, expf) in Horner's scheme. */
INLINE Floats exponential(Floats x) {
    x = SELECT(x < 88.0f, x, (Floats){0} + 88.0f);
    x = SELECT(x > -87.0f, x, (Floats){0} - 87.0f);
    const Floats n = rounded(x * 1.44269504f);
    const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r * r + r) + 1.0f;
    return p * AS_FLOATS((TO_INTS(n) + 127) << 23);
}

INLINE Floats silu(Floats x) { return x / (exponential(-x) + 1.0f); }

/* The end of every convolution: + bias, + what is added, SiLU. */
INLINE Floats finished(Floats x, Floats bias, const float *added, int32_t with_silu) {
    x = x + bias;
    if (added) x = x + loaded(added);
    return with_silu ? silu(x) : x;
}

static void finish(const Finish *task, const float *made, int64_t count) {
    for (int64_t row = 0; row < count; row++) {
        const int64_t at = row * task->stride;
        for (int v = 0; v < BLOCK; v += LANES) {
            const float *added = task->added ? task->added + at + v : 0;
            store(task->to + at + v, finished(loaded(made + row * BLOCK + v), loaded(task->bias + v), added, task->silu));
        }
    }
}

/* ---- Winograd's F(2 x 2, 3 x 3): Lavin and Gray, 2016, section 4.1 ----

   Each tile of 4 x 4 inputs at even positions gives 2 x 2 outputs. An output depends on no input but the 3 x 3 around
   it, whatever the others are, so where pictures are cut changes nothing as long as cuts are at even positions. */

/* Sixteen matrices V (count, inputs), by which the tiles of one task go into the products. */
INLINE void into_tiles(const Convolution3 *task, int64_t first, int32_t count, float *v) {
    static const float zeros[MOST_ZEROS];
    const int32_t stride = task->x.stride, rows = task->x.rows, cols = task->x.cols, tile_cols = (cols + 1) / 2;
    const int64_t matrix = (int64_t)count * stride;
    const int with_zeros = task->flags & VQ_ZEROS;
    for (int32_t tile = 0; tile < count; tile++) {
        const int64_t place = first + tile;
        const int32_t top = (int32_t)(place / tile_cols) * 2 - 1, left = (int32_t)(place % tile_cols) * 2 - 1;
        const float *at[4][4];
        for (int a = 0; a < 4; a++) {
            for (int b = 0; b < 4; b++) {
                int32_t row = top + a, col = left + b;
                const int outside = row < 0 || row >= rows || col < 0 || col >= cols;
                row = row < 0 ? 0 : row >= rows ? rows - 1 : row;
                col = col < 0 ? 0 : col >= cols ? cols - 1 : col;
                at[a][b] = with_zeros && outside ? zeros : task->x.values + ((int64_t)row * cols + col) * stride;
            }
        }
        float *to = v + (int64_t)tile * stride;
        for (int32_t c = 0; c < stride; c += LANES) {
            Floats t[4][4];
            UNROLL
            for (int b = 0; b < 4; b++) {
                const Floats d0 = loaded(at[0][b] + c), d1 = loaded(at[1][b] + c), d2 = loaded(at[2][b] + c),
                             d3 = loaded(at[3][b] + c);
                t[0][b] = d0 - d2;
                t[1][b] = d1 + d2;
                t[2][b] = d2 - d1;
                t[3][b] = d1 - d3;
            }
            UNROLL
            for (int a = 0; a < 4; a++) {
                store(to + (4 * a + 0) * matrix + c, t[a][0] - t[a][2]);
                store(to + (4 * a + 1) * matrix + c, t[a][1] + t[a][2]);
                store(to + (4 * a + 2) * matrix + c, t[a][2] - t[a][1]);
                store(to + (4 * a + 3) * matrix + c, t[a][1] - t[a][3]);
            }
        }
    }
}

/* The outputs of one block from sixteen products m (count, 16). */
INLINE void out_of_tiles(const Convolution3 *task, int64_t first, int32_t count, int32_t block, const float *m) {
    const Grid *y = &task->y;
    const int32_t tile_cols = (y->cols + 1) / 2, silu_last = task->flags & VQ_SILU;
    const int64_t matrix = (int64_t)count * BLOCK;
    for (int32_t tile = 0; tile < count; tile++) {
        const int64_t place = first + tile;
        const int32_t top = (int32_t)(place / tile_cols) * 2, left = (int32_t)(place % tile_cols) * 2;
        for (int v = 0; v < BLOCK; v += LANES) {
            const float *from = m + (int64_t)tile * BLOCK + v;
            const Floats bias = loaded(task->bias + block * BLOCK + v);
            Floats s[2][4];
            UNROLL
            for (int b = 0; b < 4; b++) {
                const Floats m0 = loaded(from + b * matrix), m1 = loaded(from + (4 + b) * matrix),
                             m2 = loaded(from + (8 + b) * matrix), m3 = loaded(from + (12 + b) * matrix);
                s[0][b] = (m0 + m1) + m2;
                s[1][b] = (m1 - m2) - m3;
            }
            for (int a = 0; a < 2 && top + a < y->rows; a++) {
                const int64_t to = (((int64_t)top + a) * y->cols + left) * y->stride + block * BLOCK + v;
                const float *added = task->added ? task->added + to : 0;
                store(y->values + to, finished((s[a][0] + s[a][1]) + s[a][2], bias, added, silu_last));
                if (left + 1 < y->cols)
                    store(y->values + to + y->stride, finished((s[a][1] - s[a][2]) - s[a][3], bias,
                                                               added ? added + y->stride : 0, silu_last));
            }
        }
    }
}

static void convolve3(const Convolution3 *task, int64_t first, int32_t count, float *workspace) {
    const int32_t inputs = task->x.channels, stride = task->x.stride, blocks = task->y.stride / BLOCK;
    float *v = workspace, *m = v + 16 * (int64_t)count * stride;
    into_tiles(task, first, count, v);
    for (int32_t block = 0; block < blocks; block++) {
        for (int k = 0; k < 16; k++)
            multiply(v + k * (int64_t)count * stride, stride, inputs, count,
                     task->weight + ((int64_t)block * 16 + k) * inputs * BLOCK, m + k * (int64_t)count * BLOCK);
        out_of_tiles(task, first, count, block, m);
    }
}
