/* The prior at work on a piece of a level: from what is known to frequencies. Included by unit.h. */

/* ---- the state before the first block ---- */

INLINE void copy_token(const PriorLevel *level, int32_t width, int32_t token, Small *to) {
    const int32_t row = token >= 0 && token < level->codes ? token : level->codes;
    const int8_t *from = level->tokens + (int64_t)row * width;
    for (int32_t c = 0; c < width; c++) to[c] = from[c];
}

/* The row of `tokens` of the neighbour that lies (down, right) from a position, in steps of `spacing`. */
INLINE int32_t neighbour(const PriorGrid *grid, int32_t position, int32_t spacing, const int32_t *around) {
    const int64_t row = position / grid->cols + (int64_t)around[0] * spacing;
    const int64_t col = position % grid->cols + (int64_t)around[1] * spacing;
    if (row < 0 || row >= grid->rows || col < 0 || col >= grid->cols) return -1;
    const int64_t there = row * grid->cols + col;
    return grid->ranks[there] < grid->ranks[position] ? grid->tokens[there] : -1;
}

/* Row `row`, -1 to 1, of the 3 x 3 tokens of the coarser levels around a position. */
INLINE void copy_below(const LevelAtWork *at, int32_t width, int32_t position, int32_t row, Small *to) {
    const PriorGrid *own = at->grids + at->level;
    const int32_t y = position / own->cols + row;
    for (int32_t x = position % own->cols - 1, step = 0; step < 3; x++, step++) {
        const int inside = y >= 0 && y < own->rows && x >= 0 && x < own->cols;
        for (int32_t level = 0; level < at->level; level++, to += width) {
            if (inside)
                copy_token(at->prior->levels + level, width, at->grids[level].tokens[(int64_t)y * own->cols + x], to);
            else
                for (int32_t c = 0; c < width; c++) to[c] = 0;
        }
    }
}

/* The state of `count` slots from `slot` on. */
static void begin_states(const LevelAtWork *at, int32_t slot, int32_t count, float *state) {
    const Prior *prior = at->prior;
    const PriorLevel *level = prior->levels + at->level;
    const PriorGrid *grid = at->grids + at->level;
    const int32_t width = whole_blocks(prior->width), token_width = around_width(prior->token_width);
    const Ended to = {.ending = ADDED_TO_FLOATS, .floats = state, .stride = width};
    Small *inputs = at->work.inputs;
    for (int32_t n = 0; n < count; n++) {
        int32_t doublings = 0;
        while (doublings < SPACINGS - 1 && grid->spacings[slot + n] >> (doublings + 1)) doublings++;
        const float *spacing = prior->spacings + (int64_t)doublings * width;
        for (int32_t c = 0; c < width; c += LANES)
            store(state + (int64_t)n * width + c, loaded(level->start + c) + loaded(spacing + c));
    }
    for (int32_t each = 0; each < level->around_count; each++) {
        for (int32_t n = 0; n < count; n++)
            copy_token(level, token_width,
                       neighbour(grid, grid->positions[slot + n], grid->spacings[slot + n], level->around + 2 * each),
                       inputs + (int64_t)n * token_width);
        linear(level->near + each, inputs, token_width, count, to);
    }
    for (int32_t row = 0; row < 3 && at->level; row++) {
        const int32_t stride = 3 * at->level * token_width;
        for (int32_t n = 0; n < count; n++)
            copy_below(at, token_width, grid->positions[slot + n], row - 1, inputs + (int64_t)n * stride);
        linear(level->below + row, inputs, stride, count, to);
    }
}

/* ---- blocks ---- */

/* Queries, keys and values of `count` slots from `slot` on; queries are of those of the whole piece. */
static void project_states(const LevelAtWork *at, const Window *window, int32_t number, int32_t slot, int32_t count,
                           const float *state, Small *queries) {
    const Prior *prior = at->prior;
    const PriorBlock *block = prior->blocks + number;
    const PriorGrid *grid = at->grids + at->level;
    const int32_t width = whole_blocks(prior->width);
    Small *inputs = at->work.inputs, *projected = at->work.projected;
    for (int32_t n = 0; n < count; n++)
        normalise_whole(state + (int64_t)n * width, prior->width, block->attention_gain, inputs + (int64_t)n * width);
    linear(&block->into, inputs, width, count,
           (Ended){.ending = TO_SMALL, .small = projected, .stride = block->into.outputs});
    for (int32_t n = 0; n < count; n++, projected += block->into.outputs) {
        __builtin_memcpy(queries + (int64_t)n * window->width, projected, window->width * sizeof(Small));
        keep(grid, window, grid->positions[slot + n], projected + window->width, projected + 2 * window->width,
             at->work.keys + number * window->block, at->work.values + number * window->block);
    }
}

/* What attention and the two linear maps after it add to the state. */
static void finish_block(const LevelAtWork *at, const Window *window, int32_t number, int32_t count, float *state,
                         const Small *queries) {
    const Prior *prior = at->prior;
    const PriorBlock *block = prior->blocks + number;
    const int32_t width = whole_blocks(prior->width);
    const Ended to = {.ending = ADDED_TO_FLOATS, .floats = state, .stride = width};
    Small *inputs = at->work.inputs, *hidden = at->work.projected;
    for (int32_t n = 0; n < count; n++)
        attend(at, window, block, at->work.keys + number * window->block, at->work.values + number * window->block,
               queries + (int64_t)n * window->width, at->work.strips + n * MOST_STRIPS, at->work.strip_counts[n],
               inputs + (int64_t)n * window->width);
    linear(&block->out, inputs, window->width, count, to);
    for (int32_t n = 0; n < count; n++)
        normalise_whole(state + (int64_t)n * width, prior->width, block->mlp_gain, inputs + (int64_t)n * width);
    linear(&block->widen, inputs, width, count,
           (Ended){.ending = BY_TABLE, .small = hidden, .stride = block->widen.outputs, .table = block->gelu});
    linear(&block->narrow, hidden, block->widen.outputs, count, to);
}

/* The states of a piece, slots first..first + count, after all blocks. */
static void run_blocks(const LevelAtWork *at, int32_t first, int32_t count) {
    const Prior *prior = at->prior;
    const PriorGrid *grid = at->grids + at->level;
    const Window window = window_of(at);
    const int32_t width = whole_blocks(prior->width);
    for (int32_t n = 0; n < count; n += TILE)
        begin_states(at, first + n, count - n < TILE ? count - n : TILE, at->work.state + (int64_t)n * width);
    for (int32_t block = 0; block < prior->depth; block++) {
        for (int32_t n = 0; n < count; n += TILE)
            project_states(at, &window, block, first + n, count - n < TILE ? count - n : TILE,
                           at->work.state + (int64_t)n * width, (Small *)at->work.queries + (int64_t)n * window.width);
        for (int32_t n = 0; n < count; n += TILE) {
            const int32_t together = count - n < TILE ? count - n : TILE;
            for (int32_t each = 0; each < together && (count > TILE || !block); each++)
                at->work.strip_counts[each] =
                    look_around(grid, &window, prior->radius, grid->positions[first + n + each],
                                at->work.strips + each * MOST_STRIPS);
            finish_block(at, &window, block, together, at->work.state + (int64_t)n * width,
                         (const Small *)at->work.queries + (int64_t)n * window.width);
        }
    }
}

/* ---- what comes of it ---- */

/* Logits of slots n..n + count, at most TILE, of the piece. */
static void run_head(const LevelAtWork *at, int32_t n, int32_t count) {
    const IntegerLinear *head = &at->prior->levels[at->level].head;
    const int32_t width = whole_blocks(at->prior->width);
    Small *inputs = at->work.inputs;
    for (int32_t each = 0; each < count; each++)
        normalise_whole(at->work.state + (int64_t)(n + each) * width, at->prior->width, at->prior->head_gain,
                        inputs + (int64_t)each * width);
    linear(head, inputs, width, count,
           (Ended){.ending = TO_FLOATS, .floats = at->work.logits, .stride = head->outputs});
}

/* Softmax of logits (codes), in whole numbers that sum to 2^24. Changes the logits. */
static void make_frequencies(const int32_t *exponentials, int32_t last, float *logits, int32_t codes,
                             int32_t *frequencies) {
    const Floats range = (Floats){0} + (float)last;
    Floats most = (Floats){0} + LEAST;
    float lanes[LANES], largest;
    int32_t first = 0, total = 0;
    int64_t sum = 0;
    for (int32_t code = codes; code < whole_blocks(codes); code++) logits[code] = LEAST;
    for (int32_t code = 0; code < codes; code += LANES) {
        const Floats logit = loaded(logits + code);
        most = SELECT(logit > most, logit, most);
    }
    store(lanes, most);
    largest = lanes[0];
    for (int lane = 1; lane < LANES; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
    while (first < codes - 1 && logits[first] != largest) first++;
    for (int32_t code = 0; code < codes; code += LANES) {
        const Floats below = largest - loaded(logits + code);
        const Ints index = TO_INTS(SELECT(below < range, below, range));
        store_ints(frequencies + code, gathered(exponentials, index));
    }
    for (int32_t code = 0; code < codes; code++) sum += frequencies[code];
    const double share = (double)((1 << 24) - codes) / (double)sum;
    for (int32_t code = 0; code < codes; code++) {
        frequencies[code] = 1 + (int32_t)((double)frequencies[code] * share);
        total += frequencies[code];
    }
    frequencies[first] += (1 << 24) - total;
}
