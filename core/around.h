/* The context network at work: a row through a block, and logits of a group. Included by unit.h. */

INLINE void widen_bytes(const int8_t *from, int32_t count, Small *to) {
    for (int32_t c = 0; c < count; c++) to[c] = from[c];
}

/* Rows row - 1 to row + 1 of a grid, with a position of zeros before and after each; zeros for those beyond the grid. */
static void spread_rows(const ContextGrid *grid, int32_t width, const int8_t *from, int32_t row, Small *to) {
    const int64_t length = (int64_t)grid->cols * width;
    for (int32_t y = row - 1; y <= row + 1; y++, to += length + 2 * width) {
        __builtin_memset(to, 0, (length + 2 * width) * sizeof(Small));
        if (y >= 0 && y < grid->rows) widen_bytes(from + y * length, (int32_t)length, to + width);
    }
}

static void run_context_row(const ContextAtWork *at, const ContextBlock *block, const int8_t *from, int8_t *to,
                            int32_t row) {
    const ContextGrid *grid = at->grids + at->level;
    const int32_t width = whole_blocks(at->network->channels);
    const int64_t line = (int64_t)(grid->cols + 2) * width;
    Small *rows = at->rows, *inputs = at->inputs, *hidden = at->hidden;
    spread_rows(grid, width, from, row, rows);
    to += (int64_t)row * grid->cols * width;
    for (int32_t first = 0; first < grid->cols; first += TILE) {
        const int32_t left = grid->cols - first, count = left < TILE ? left : TILE;
        const Small *corner = rows + (int64_t)first * width;
        for (int32_t n = 0; n < count; n++)
            for (int32_t y = 0; y < 3; y++)
                __builtin_memcpy(inputs + (int64_t)(3 * n + y) * 3 * width, corner + y * line + (int64_t)n * width,
                                 3 * width * sizeof(Small));
        linear(&block->around, inputs, 9 * width, count, (Ended){.ending = TO_POSITIVE, .small = hidden, .stride = width});
        __builtin_memcpy(inputs, corner + line + width, (int64_t)count * width * sizeof(Small)); /* the row itself */
        linear(&block->point, hidden, width, count,
               (Ended){.ending = ADDED_TO_SMALL, .small = inputs, .stride = width});
        for (int64_t c = 0; c < (int64_t)count * width; c++) to[(int64_t)first * width + c] = (int8_t)inputs[c];
    }
}

/* The vectors of the tokens that one is told. */
INLINE void copy_told(const ContextAtWork *at, int32_t position, int32_t token_width, Small *to) {
    const ContextGrid *grid = at->grids + at->level;
    const ContextLevel *level = at->network->levels + at->level;
    const ContextGroup *group = vq_context_groups + at->group;
    for (int32_t each = 0; each < group->count; each++, to += token_width) {
        const int32_t row = position / grid->cols + group->offsets[each].down;
        const int32_t col = position % grid->cols + group->offsets[each].right;
        const int inside = row >= 0 && row < grid->rows && col >= 0 && col < grid->cols;
        const int32_t token = inside ? grid->tokens[(int64_t)row * grid->cols + col] : level->codes;
        const int known = token >= 0 && token < level->codes;
        widen_bytes(level->tokens + (int64_t)(known ? token : level->codes) * token_width, token_width, to);
    }
}

/* told: (rows, cols, C), what all blocks made. */
static void run_context_head(const ContextAtWork *at, const int8_t *told, const int32_t *positions, int32_t count) {
    const ContextLevel *level = at->network->levels + at->level;
    const int32_t width = whole_blocks(at->network->channels);
    Small *inputs = at->inputs, *hidden = at->hidden;
    for (int32_t n = 0; n < count; n++)
        widen_bytes(told + (int64_t)positions[n] * width, width, hidden + (int64_t)n * width);
    if (at->group) {
        const IntegerLinear *near = level->near + at->group - 1;
        const int32_t token_width = around_width(at->network->token_width);
        for (int32_t n = 0; n < count; n++)
            copy_told(at, positions[n], token_width, inputs + (int64_t)n * near->inputs);
        linear(near, inputs, near->inputs, count, (Ended){.ending = ADDED_TO_SMALL, .small = hidden, .stride = width});
    }
    linear(&level->inner, hidden, width, count,
           (Ended){.ending = TO_POSITIVE, .small = inputs, .stride = level->inner.outputs});
    linear(&level->head, inputs, level->inner.outputs, count,
           (Ended){.ending = TO_FLOATS, .floats = at->logits, .stride = level->head.outputs});
}
