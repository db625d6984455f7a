/* Attention of the prior to the tokens within its radius. Included by unit.h.

   Keys and values of the rows and columns that are still looked at are kept in a window. Lanes are neighbouring columns
   where keys are multiplied, and channels where values are added up. */

typedef struct {
    int32_t width, columns; /* heads head_width; window_cols + MIRRORED */
    int64_t row, block; /* what one row of keys or values takes, and all of one block of the network */
} Window;

INLINE Window window_of(const LevelAtWork *at) {
    const PriorGrid *grid = at->grids + at->level;
    Window window = {.width = at->prior->heads * head_width(at->prior), .columns = grid->window_cols + MIRRORED};
    window.row = (int64_t)window.columns * window.width;
    window.block = window.row * grid->window_rows;
    return window;
}

/* What a token looks at: the columns of each row from the first to the last one that is known. Returns how many strips. */
static int32_t look_around(const PriorGrid *grid, const Window *window, int32_t radius, int32_t position, Strip *strips) {
    const int32_t rows = grid->rows, cols = grid->cols, row = position / cols, col = position % cols;
    const int32_t top = row < radius ? 0 : row - radius, bottom = row + radius < rows ? row + radius : rows - 1;
    const int32_t left = col < radius ? 0 : col - radius, right = col + radius < cols ? col + radius : cols - 1;
    const int32_t own = grid->ranks[position], even = left & ~1, side = 2 * radius + 1;
    int32_t count = 0;
    for (int32_t y = top; y <= bottom; y++) {
        const int32_t *ranks = grid->ranks + (int64_t)y * cols;
        uint32_t known = 0;
        for (int32_t x = left; x <= right; x++) known |= (uint32_t)(ranks[x] <= own) << (x - even);
        for (int32_t x = even; known; x += LANES, known = LANES < 32 ? known >> LANES : 0) {
            const int32_t unseen = LANES == 1 ? __builtin_ctz(known) : __builtin_ctz(known) & ~1;
            x += unseen;
            known >>= unseen;
            const int32_t window_col = x % grid->window_cols, window_row = y % grid->window_rows;
            const uint32_t bits = known & ((1u << LANES) - 1);
            strips[count++] = (Strip){
                .keys = window_row * window->row + 4 * (int64_t)window_col,
                .values = window_row * window->row + (int64_t)(window_col & ~1) * window->width,
                .relative = (y - row + radius) * side + x - col + radius,
                .bits = LANES == 1 ? 1u | (uint32_t)(window_col & 1) << 1 : bits,
            };
        }
    }
    return count;
}

/* Puts key and value, (heads, head_width) each, of a token into the window. */
static void keep(const PriorGrid *grid, const Window *window, int32_t position, const Small *key, const Small *value,
                 uint8_t *keys, int16_t *values) {
    const int32_t row = position / grid->cols % grid->window_rows;
    int32_t col = position % grid->cols % grid->window_cols;
    for (;;) {
        uint8_t *to = keys + row * window->row + 4 * (int64_t)col;
        for (int32_t c = 0; c < window->width; c += 4, to += 4 * (int64_t)window->columns) {
            for (int each = 0; each < 4; each++) to[each] = (uint8_t)(key[c + each] + 128);
        }
        int16_t *pairs = values + row * window->row + (int64_t)(col / 2 * 2) * window->width + col % 2;
        for (int32_t c = 0; c < window->width; c++) pairs[2 * c] = value[c];
        if (col >= MIRRORED) return;
        col += grid->window_cols;
        if (col >= window->columns) return;
    }
}

/* Values of two neighbouring columns, and how much of each. */
typedef struct {
    const int16_t *values;
    int32_t powers;
} Pair;

#define LEAST -3.0e38f

/* Logits (strips, LANES) of one head, and the largest. */
INLINE float score(const LevelAtWork *at, const Window *window, const uint8_t *keys, const Small *query, int32_t head,
                   float scale, const Strip *strips, int32_t count, float *logits) {
    const int32_t channels = head_width(at->prior), side = 2 * at->prior->radius + 1;
    const float *relative =
        at->prior->relative + (int64_t)head * (side * side + 2 * RELATIVE_MARGIN) + RELATIVE_MARGIN;
    const int32_t excess = 128 * sum_of(query, channels);
    float lanes[LANES], largest;
#if LANES > 1
    Ints bit;
    for (int lane = 0; lane < LANES; lane++) bit[lane] = 1 << lane;
#else
    const Ints bit = 1;
#endif
    Floats most = (Floats){0} + LEAST;
    for (int32_t strip = 0; strip < count; strip++) {
        const uint8_t *from = keys + strips[strip].keys;
        Sums sums = {0};
        for (int32_t c = 0; c < channels; c += 16) {
            UNROLL
            for (int32_t k = 0; k < 16; k += 4, from += 4 * (int64_t)window->columns)
                sums = add_quads(sums, weights_at(from), quad_at(query + c + k));
        }
        const Floats logit = as_floats(total(sums) - excess) * scale + loaded(relative + strips[strip].relative);
        const Floats seen = SELECT((((Ints){0} + (int32_t)strips[strip].bits) & bit) != 0, logit, (Floats){0} + LEAST);
        store(logits + strip * LANES, seen);
        most = SELECT(seen > most, seen, most);
    }
    store(lanes, most);
    largest = lanes[0];
    for (int lane = 1; lane < LANES; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
    return largest;
}

/* Powers (strips, LANES) of logits; returns their sum. */
INLINE int32_t raise(const Prior *prior, const float *logits, float largest, int32_t count, int16_t *powers) {
    const Floats range = (Floats){0} + (float)prior->attention_range;
    int32_t lanes[LANES], sum = 0;
    Ints sums = (Ints){0};
    for (int32_t strip = 0; strip < count; strip++) {
        const Floats apart = largest - loaded(logits + strip * LANES);
        const Ints power = gathered(prior->attention_exponentials, TO_INTS(SELECT(apart < range, apart, range)));
        store_shorts(powers + strip * LANES, power);
        sums = sums + power;
    }
    store_ints(lanes, sums);
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}

/* Channels of values that are added up in registers: most of them, and what is left over, as heads are BLOCKs wide. */
#define MIXED_VECTORS (LANES == 1 ? 8 : 32 / LANES)
#define LEFT_VECTORS (LANES == 1 ? 8 : VECTORS)

INLINE void mix(const Pair *pairs, int32_t count, int32_t channel, float scale, Small *to, const int vectors) {
    Ints sums[MIXED_VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++) sums[v] = (Ints){0};
    for (int32_t pair = 0; pair < count; pair++) {
        const Shorts powers = same_pair(pairs[pair].powers);
        const int16_t *values = pairs[pair].values + 2 * channel;
        UNROLL
        for (int v = 0; v < vectors; v++) sums[v] = add_pairs(sums[v], shorts_at(values + 2 * v * LANES), powers);
    }
    for (int v = 0; v < vectors; v++) store_small(to + v * LANES, within(whole(as_floats(sums[v]) * scale), 127.0f));
}

/* One token's heads: query (heads, head_width) -> to, of the same shape. keys, values: of this block. */
static void attend(const LevelAtWork *at, const Window *window, const PriorBlock *block, const uint8_t *keys,
                   const int16_t *values, const Small *query, const Strip *strips, int32_t count, Small *to) {
    const int32_t channels = head_width(at->prior);
    float logits[17 * 32];
    int16_t powers[17 * 32];
    Pair pairs[17 * 18];
    for (int32_t head = 0; head < at->prior->heads; head++, query += channels, to += channels) {
        const float largest = score(at, window, keys + (int64_t)head * channels * window->columns, query, head,
                                    block->logit_scale[head], strips, count, logits);
        const int32_t sum = raise(at->prior, logits, largest, count, powers);
        const float scale = block->value_scale / (float)sum;
        int32_t used = 0, channel = 0;
        for (int32_t strip = 0; strip < count; strip++) {
            const int16_t *from = values + strips[strip].values + 2 * head * channels;
#if LANES == 1
            pairs[used++] = (Pair){from, (int32_t)((uint32_t)powers[strip] << (strips[strip].bits & 2 ? 16 : 0))};
#else
            for (int32_t pair = 0; pair < LANES; pair += 2, from += 2 * (int64_t)window->width) {
                __builtin_memcpy(&pairs[used].powers, powers + strip * LANES + pair, 4);
                pairs[used].values = from;
                used += pairs[used].powers != 0;
            }
#endif
        }
        for (; channel + MIXED_VECTORS * LANES <= channels; channel += MIXED_VECTORS * LANES)
            mix(pairs, used, channel, scale, to + channel, MIXED_VECTORS);
        for (; channel < channels; channel += LEFT_VECTORS * LANES)
            mix(pairs, used, channel, scale, to + channel, LEFT_VECTORS);
    }
}
