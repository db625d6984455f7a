/* The context network: levels of a picture from payloads and to them, one after the other; threads share each level. */
#include "kernels.h"
#include "range_coder.h"
#include "team.h"

/* Tokens whose frequencies are computed before the range coder takes them. */
#define CHUNK (16 * TILE)

const ContextGroup vq_context_groups[CONTEXT_GROUPS] = {
    {0, 0, 0, {{0, 0}}},
    {1, 1, 4, {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}}},
    {0, 1, 4, {{-1, 0}, {0, -1}, {0, 1}, {1, 0}}},
    {1, 0, 8, {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 1}, {1, -1}, {1, 0}, {1, 1}}},
};

/* ---- memory ---- */

/* told, made: (rows, cols, C), one of which a block reads and the other one writes. frequencies: (CHUNK, codes). */
typedef struct {
    int8_t *told, *made;
    int32_t *positions, *frequencies;
    ContextAtWork members[MOST_THREADS];
} ContextWork;

static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

/* Memory for a level; returns its bytes. */
static int64_t work_of(const ContextNetwork *network, const ContextGrid *grids, int32_t level, int32_t threads,
                       uint8_t *workspace, ContextWork *work) {
    const ContextLevel *each = network->levels + level;
    const int64_t width = whole_blocks(network->channels), cols = grids[level].cols, small = sizeof(int16_t);
    const int64_t codes = whole_blocks(each->codes), positions = grids[level].rows * cols;
    const int32_t widest = most(9 * (int32_t)width, most(each->inner.outputs, each->near[2].inputs));
    int64_t bytes = unaligned(workspace);
    work->told = take(workspace, &bytes, positions * width);
    work->made = take(workspace, &bytes, positions * width);
    work->positions = take(workspace, &bytes, CHUNK * (int64_t)sizeof(int32_t));
    work->frequencies = take(workspace, &bytes, CHUNK * codes * (int64_t)sizeof(int32_t));
    for (int32_t member = 0; member < threads; member++) {
        ContextAtWork *at = work->members + member;
        *at = (ContextAtWork){.network = network, .grids = grids, .level = level};
        at->rows = take(workspace, &bytes, 3 * (cols + 2) * width * small);
        at->inputs = take(workspace, &bytes, TILE * widest * small);
        at->hidden = take(workspace, &bytes, TILE * width * small);
        at->logits = take(workspace, &bytes, TILE * codes * (int64_t)sizeof(float));
    }
    return bytes;
}

static int32_t members(int32_t threads) { return threads < 1 ? 1 : threads < MOST_THREADS ? threads : MOST_THREADS; }

static int is_token(int32_t value, int32_t codes) { return value >= 0 && value < codes; }

/* Whether a grid holds tokens only. */
static int has_tokens(const ContextGrid *grid, int32_t codes) {
    for (int64_t at = 0; at < (int64_t)grid->rows * grid->cols; at++)
        if (!is_token(grid->tokens[at], codes)) return 0;
    return 1;
}

/* Whether shapes are such that nothing is read or written beyond the memory that is there. */
static int fits(const ContextNetwork *network, const ContextGrid *grids, int32_t first, int32_t count) {
    if (network->channels < 1 || network->token_width < 1 || network->level_count > MOST_LEVELS) return 0;
    if (network->first < 0 || first < network->first || first >= count || count > network->level_count) return 0;
    for (int32_t level = 0; level < count; level++)
        if (grids[level].rows < 1 || grids[level].cols < 1 || network->levels[level].codes < 1) return 0;
    for (int32_t level = first; level < count; level++)
        for (int32_t coarser = 0; coarser < level; coarser++) {
            const int64_t repeats = network->levels[level].repeats[coarser];
            if (repeats < 1 || grids[coarser].rows * repeats < grids[level].rows) return 0;
            if (grids[coarser].cols * repeats < grids[level].cols) return 0;
        }
    return 1;
}

/* ---- what a level is told of coarser ones ---- */

/* The sum of the vectors of the coarser tokens at each position of a row, within -127..127, or `start`. */
static void sum_below(const ContextNetwork *network, const ContextGrid *grids, int32_t level, int32_t row, int8_t *to) {
    const ContextLevel *own = network->levels + level;
    const int32_t width = whole_blocks(network->channels), cols = grids[level].cols;
    const int8_t *from[MOST_LEVELS] = {own->start};
    for (int32_t col = 0; col < cols; col++, to += width) {
        for (int32_t coarser = 0; coarser < own->coarser; coarser++) {
            const int32_t repeats = own->repeats[coarser];
            const int64_t at = (int64_t)(row / repeats) * grids[coarser].cols + col / repeats;
            from[coarser] = own->below[coarser] + (int64_t)grids[coarser].tokens[at] * width;
        }
        for (int32_t c = 0; c < width; c++) {
            int32_t sum = from[0][c];
            for (int32_t coarser = 1; coarser < own->coarser; coarser++) sum += from[coarser][c];
            to[c] = (int8_t)(sum > 127 ? 127 : sum < -127 ? -127 : sum);
        }
    }
}

/* Ends with a phase of its own. */
static void make_told(Team *team, ContextWork *work, const ContextAtWork *at) {
    const ContextGrid *grid = at->grids + at->level;
    const int64_t line = (int64_t)grid->cols * whole_blocks(at->network->channels);
    const int8_t *from = work->told;
    int8_t *to = work->made;
    for (int32_t row = team_next(team); row < grid->rows; row = team_next(team))
        sum_below(at->network, at->grids, at->level, row, work->told + row * line);
    team_wait(team);
    for (int32_t block = 0; block < at->network->block_count; block++) {
        for (int32_t row = team_next(team); row < grid->rows; row = team_next(team))
            vq_kernels()->run_context_row(at, at->network->levels[at->level].blocks + block, from, to, row);
        team_wait(team);
        const int8_t *made = to;
        to = (int8_t *)from;
        from = made;
    }
}

/* Where the blocks leave it. */
static const int8_t *told_of(const ContextNetwork *network, const ContextWork *work) {
    return network->block_count % 2 ? work->made : work->told;
}

/* ---- frequencies ---- */

/* Of `count` positions of one group, at most TILE. */
static void make_tile(ContextAtWork *at, const int8_t *told, const int32_t *positions, int32_t count,
                      int32_t *frequencies) {
    const ContextNetwork *network = at->network;
    const int32_t codes = network->levels[at->level].codes, stride = whole_blocks(codes);
    vq_kernels()->run_context_head(at, told, positions, count);
    for (int32_t n = 0; n < count; n++)
        vq_kernels()->make_frequencies(network->token_exponentials, network->token_range, at->logits + (int64_t)n * stride,
                                       codes, frequencies + (int64_t)n * stride);
}

/* ---- levels ---- */

typedef struct {
    const ContextNetwork *network;
    ContextGrid *grids;
    int32_t first, count, encode, threads;
    uint8_t *workspace;
    ContextWork work;
    RangeDecoder decoder;
    RangeEncoder encoder;
    int32_t failed;
} Coding;

#define CODING(network_, grids_, first_, count_, encode_, threads_, workspace_)                                           \
    ((Coding){.network = network_, .grids = grids_, .first = first_, .count = count_, .encode = encode_,                   \
              .threads = members(threads_), .workspace = workspace_})

/* The tokens of a chunk, by the frequencies that were made for it. */
static void code_chunk(Coding *coding, ContextGrid *grid, int32_t codes, int32_t count) {
    const int32_t *frequencies = coding->work.frequencies;
    for (int32_t n = 0; n < count; n++, frequencies += whole_blocks(codes)) {
        const int32_t position = coding->work.positions[n];
        int32_t *token = grid->tokens + position;
        if (grid->coded && !grid->coded[position]) {
            if (!coding->encode) *token = grid->filler;
        } else if (coding->encode)
            encode_token(&coding->encoder, frequencies, *token);
        else if ((*token = decode_token(&coding->decoder, frequencies, codes)) < 0) {
            coding->failed = 1;
            return;
        }
    }
}

/* All tokens of a group, chunk by chunk: all members compute, the first one codes. */
static void code_group(Coding *coding, Team *team, int member, int32_t level, int32_t number) {
    const ContextGroup *group = vq_context_groups + number;
    ContextGrid *grid = coding->grids + level;
    ContextAtWork *at = coding->work.members + member;
    const int32_t codes = coding->network->levels[level].codes;
    const int32_t rows = (grid->rows - group->row + 1) / 2, cols = (grid->cols - group->col + 1) / 2;
    const int64_t tokens = (int64_t)rows * cols;
    at->group = number;
    for (int64_t start = 0; start < tokens && !coding->failed; start += CHUNK) {
        const int32_t count = (int32_t)(tokens - start < CHUNK ? tokens - start : CHUNK);
        for (int32_t first = team_next(team) * TILE; first < count; first = team_next(team) * TILE) {
            int32_t *positions = coding->work.positions + first;
            const int32_t together = count - first < TILE ? count - first : TILE;
            for (int32_t n = 0; n < together; n++) {
                const int64_t place = start + first + n;
                positions[n] = (int32_t)((2 * (place / cols) + group->row) * grid->cols + 2 * (place % cols) + group->col);
            }
            make_tile(at, told_of(coding->network, &coding->work), positions, together,
                      coding->work.frequencies + (int64_t)first * whole_blocks(codes));
        }
        team_wait(team);
        if (!member) code_chunk(coding, grid, codes, count);
        team_wait(team);
    }
}

/* What one member does before a level, and after it. */
static void begin_level(Coding *coding, int32_t level) {
    ContextGrid *grid = coding->grids + level;
    work_of(coding->network, coding->grids, level, coding->threads, coding->workspace, &coding->work);
    if (coding->encode)
        coding->encoder = encoder_to(grid->payload);
    else
        coding->decoder = decoder_of(grid->payload, grid->payload_bytes);
}

static void end_level(Coding *coding, int32_t level) {
    if (coding->encode) coding->grids[level].payload_bytes = finish_payload(&coding->encoder);
}

static void code_levels(Team *team, int member, void *context) {
    Coding *coding = context;
    for (int32_t level = coding->first; level < coding->count && !coding->failed; level++) {
        ContextGrid *grid = coding->grids + level;
        if (!member) begin_level(coding, level);
        team_wait(team);
        if (coding->network->levels[level].codes > 1) {
            make_told(team, &coding->work, coding->work.members + member);
            for (int32_t group = 0; group < CONTEXT_GROUPS; group++) code_group(coding, team, member, level, group);
        } else if (!member && !coding->encode)
            for (int64_t at = 0; at < (int64_t)grid->rows * grid->cols; at++) grid->tokens[at] = 0;
        if (!member) end_level(coding, level);
        team_wait(team);
    }
}

static int64_t workspace_bytes(const ContextNetwork *network, const ContextGrid *grids, int32_t first, int32_t count,
                               int32_t threads) {
    ContextWork work;
    int64_t all = 0;
    for (int32_t level = first; level < count; level++) {
        const int64_t bytes = work_of(network, grids, level, members(threads), 0, &work);
        all = bytes > all ? bytes : all;
    }
    return all;
}

EXPORTED(int64_t, vq_context_workspace)(const ContextNetwork *network, const ContextGrid *grids, int32_t first,
                                       int32_t count, int32_t threads) {
    return fits(network, grids, first, count) ? workspace_bytes(network, grids, first, count, threads) : -1;
}

static int32_t code(Coding *coding) {
    if (!fits(coding->network, coding->grids, coding->first, coding->count)) return -1;
    for (int32_t level = 0; level < coding->count; level++) {
        const ContextGrid *grid = coding->grids + level;
        const int is_known = level < coding->first || coding->encode;
        if (is_known && !has_tokens(grid, coding->network->levels[level].codes)) return -1;
        if (grid->coded && !is_token(grid->filler, coding->network->levels[level].codes)) return -1;
        if (level >= coding->first && coding->encode && grid->payload_bytes < payload_bytes(grid->rows * (int64_t)grid->cols))
            return -1;
    }
    vq_kernels();
    team_run(coding->threads, code_levels, coding);
    return coding->failed ? -1 : 0;
}

EXPORTED(int32_t, vq_context_decode)(const ContextNetwork *network, ContextGrid *grids, int32_t first, int32_t count,
                                    void *workspace, int32_t threads) {
    return code(&CODING(network, grids, first, count, 0, threads, workspace));
}

EXPORTED(int32_t, vq_context_encode)(const ContextNetwork *network, ContextGrid *grids, int32_t first, int32_t count,
                                    void *workspace, int32_t threads) {
    return code(&CODING(network, grids, first, count, 1, threads, workspace));
}

/* ---- group by group ---- */

static void begin_told(Team *team, int member, void *context) {
    Coding *coding = context;
    make_told(team, &coding->work, coding->work.members + member);
}

EXPORTED(int32_t, vq_context_begin)(const ContextNetwork *network, const ContextGrid *grids, int32_t count,
                                   void *workspace, int32_t threads) {
    Coding coding = CODING(network, (ContextGrid *)grids, count - 1, count, 0, threads, workspace);
    if (!fits(network, grids, count - 1, count)) return -1;
    for (int32_t level = 0; level < count - 1; level++)
        if (!has_tokens(grids + level, network->levels[level].codes)) return -1;
    begin_level(&coding, count - 1);
    vq_kernels();
    team_run(coding.threads, begin_told, &coding);
    return 0;
}

EXPORTED(int32_t, vq_context_frequencies)(const ContextNetwork *network, const ContextGrid *grids, int32_t count,
                                         const int32_t *positions, int32_t n, void *workspace, int32_t *frequencies) {
    ContextWork work;
    if (!fits(network, grids, count - 1, count) || n < 1) return -1;
    const ContextGrid *grid = grids + count - 1;
    const int32_t codes = network->levels[count - 1].codes;
    work_of(network, grids, count - 1, 1, workspace, &work);
    ContextAtWork *at = work.members;
    for (int32_t place = 0; place < n; place++)
        if (positions[place] < 0 || positions[place] >= (int64_t)grid->rows * grid->cols) return -1;
    while (vq_context_groups[at->group].row != positions[0] / grid->cols % 2 ||
           vq_context_groups[at->group].col != positions[0] % grid->cols % 2)
        at->group++;
    const uint64_t before = plain_arithmetic();
    for (int32_t first = 0; first < n; first += TILE) {
        const int32_t left = n - first, together = left < TILE ? left : TILE;
        make_tile(at, told_of(network, &work), positions + first, together, work.frequencies);
        for (int32_t each = 0; each < together; each++)
            for (int32_t code = 0; code < codes; code++)
                frequencies[(int64_t)(first + each) * codes + code] = work.frequencies[each * whole_blocks(codes) + code];
    }
    restore_arithmetic(before);
    return 0;
}
