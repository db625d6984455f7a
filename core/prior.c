/* The prior: levels of a picture from payloads and to them. Threads take levels; each level follows the coarser ones. */
#include "kernels.h"
#include "range_coder.h"
#include "team.h"


/* ---- packing: as the kernels read it, see integers.h ---- */

EXPORTED(int64_t, vq_integers_size)(int32_t outputs, int32_t inputs) {
    return (int64_t)whole_blocks(outputs) * ((inputs + 3) / 4 * 4);
}

EXPORTED(void, vq_integers_pack)(const int8_t *weight, int32_t outputs, int32_t inputs, uint8_t *packed) {
    const int32_t wide = (inputs + 3) / 4 * 4;
    for (int64_t block = 0; block < whole_blocks(outputs) / 16; block++)
        for (int32_t first = 0; first < wide; first += 4)
            for (int64_t output = block * 16; output < block * 16 + 16; output++)
                for (int32_t input = first; input < first + 4; input++) {
                    const int inside = output < outputs && input < inputs;
                    *packed++ = (uint8_t)((inside ? weight[output * inputs + input] : 0) + 128);
                }
}

/* ---- memory ---- */

/* Memory for a level; returns its bytes. */
static int64_t work_of(const Prior *prior, const PriorGrid *grid, int32_t level, uint8_t *workspace, PriorWork *work) {
    const int64_t piece = grid->largest_piece, codes = whole_blocks(prior->levels[level].codes), small = sizeof(int16_t);
    const int64_t width = (int64_t)prior->heads * head_width(prior), most = most_inputs(prior, level);
    const int64_t window = (int64_t)grid->window_rows * (grid->window_cols + MIRRORED) * width * prior->depth;
    int64_t bytes = unaligned(workspace);
    work->state = take(workspace, &bytes, piece * whole_blocks(prior->width) * (int64_t)sizeof(float));
    work->queries = take(workspace, &bytes, piece * width * small);
    work->projected = take(workspace, &bytes, TILE * most * small);
    work->inputs = take(workspace, &bytes, TILE * most * small);
    work->logits = take(workspace, &bytes, TILE * codes * (int64_t)sizeof(float));
    work->frequencies = take(workspace, &bytes, codes * (int64_t)sizeof(int32_t));
    work->keys = take(workspace, &bytes, window);
    work->values = take(workspace, &bytes, window * (int64_t)sizeof(int16_t));
    work->strips = take(workspace, &bytes, TILE * MOST_STRIPS * (int64_t)sizeof(Strip));
    work->strip_counts = take(workspace, &bytes, TILE * (int64_t)sizeof(int32_t));
    return bytes;
}

static int shape_fits(const Prior *prior, const PriorGrid *grids, int32_t count) {
    if (prior->radius < 1 || prior->radius > MOST_RADIUS || prior->heads < 1 || prior->width % prior->heads) return 0;
    if (count < 1 || count > MOST_LEVELS || count > prior->level_count || prior->depth < 1) return 0;
    for (int32_t level = 0; level < count; level++) {
        const PriorGrid *grid = grids + level;
        if (grid->rows < 1 || grid->cols < 1 || grid->rows != grids->rows || grid->cols != grids->cols) return 0;
        if (grid->window_rows < 1 || grid->window_cols < 16 || grid->window_cols % 2) return 0;
    }
    return 1;
}

static int piece_fits(const PriorGrid *grid, int32_t piece) {
    const int64_t first = grid->starts[piece], end = grid->starts[piece + 1], all = (int64_t)grid->rows * grid->cols;
    if (first < 0 || end <= first || end > all || end - first > grid->largest_piece) return 0;
    for (int64_t slot = first; slot < end; slot++)
        if (grid->positions[slot] < 0 || grid->positions[slot] >= all) return 0;
    return 1;
}

/* Whether shapes are such that nothing is read or written beyond the memory that is there. */
static int fits(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count) {
    if (first < 0 || first >= count || !shape_fits(prior, grids, count)) return 0;
    for (int32_t level = first; level < count; level++)
        for (int32_t piece = 0; piece < grids[level].pieces; piece++)
            if (!piece_fits(grids + level, piece)) return 0;
    return 1;
}

/* Bytes for any one of the levels. */
static int64_t member_bytes(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count) {
    PriorWork work;
    int64_t most = 0;
    for (int32_t level = first; level < count; level++) {
        const int64_t bytes = work_of(prior, grids + level, level, 0, &work);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static int32_t members(int32_t threads, int32_t levels) { return threads < 1 ? 1 : threads < levels ? threads : levels; }

EXPORTED(int64_t, vq_prior_workspace)(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count,
                                     int32_t threads) {
    if (!fits(prior, grids, first, count)) return -1;
    return member_bytes(prior, grids, first, count) * members(threads, count - first);
}

/* ---- all levels ---- */

typedef struct {
    const Prior *prior;
    PriorGrid *grids;
    int32_t first, count, encode;
    uint8_t *workspace;
    int64_t member_bytes;
    Progress done[MOST_LEVELS]; /* groups of each level whose tokens are known */
    Progress failed;
} Coding;

/* Waits for the tokens of coarser levels around those of a piece. */
static void await_coarser(Coding *coding, Team *team, const PriorGrid *grid, int32_t level, int32_t first, int32_t end) {
    int32_t needed[MOST_LEVELS] = {0};
    for (int32_t slot = first; slot < end; slot++) {
        const int32_t row = grid->positions[slot] / grid->cols, col = grid->positions[slot] % grid->cols;
        for (int32_t y = row ? row - 1 : 0; y <= row + 1 && y < grid->rows; y++)
            for (int32_t x = col ? col - 1 : 0; x <= col + 1 && x < grid->cols; x++)
                for (int32_t coarser = 0; coarser < level; coarser++) {
                    const int32_t rank = coding->grids[coarser].ranks[(int64_t)y * grid->cols + x] + 1;
                    needed[coarser] = rank > needed[coarser] ? rank : needed[coarser];
                }
    }
    for (int32_t coarser = 0; coarser < level; coarser++)
        team_await(team, &coding->done[coarser], needed[coarser]);
}

/* Ends all waiting. */
static void give_up(Coding *coding, Team *team) {
    team_reach(team, &coding->failed, 1);
    for (int32_t level = 0; level < coding->count; level++) team_reach(team, &coding->done[level], INT32_MAX);
}

/* Before the frequencies of the nth token of a piece, in order: logits are made of many together. */
static void make_logits(const LevelAtWork *at, int32_t n, int32_t count) {
    if (n % TILE == 0) vq_kernels()->run_head(at, n, count - n < TILE ? count - n : TILE);
}

static void token_frequencies(const LevelAtWork *at, int32_t n) {
    const int32_t codes = at->prior->levels[at->level].codes;
    vq_kernels()->make_frequencies(at->prior->token_exponentials, at->prior->token_range,
                                   at->work.logits + (int64_t)(n % TILE) * whole_blocks(codes), codes,
                                   at->work.frequencies);
}

static void decode_level(Coding *coding, Team *team, const LevelAtWork *at) {
    const PriorGrid *grid = at->grids + at->level;
    const int32_t codes = at->prior->levels[at->level].codes;
    RangeDecoder decoder = decoder_of(grid->payload, grid->payload_bytes);
    for (int32_t piece = 0; piece < grid->pieces; piece++) {
        const int32_t first = grid->starts[piece], count = grid->starts[piece + 1] - first;
        await_coarser(coding, team, grid, at->level, first, first + count);
        if (team_reached(&coding->failed)) return;
        if (codes > 1) vq_kernels()->run_blocks(at, first, count);
        for (int32_t n = 0; n < count; n++) {
            const int32_t position = grid->positions[first + n];
            int32_t token = 0;
            if (codes > 1) make_logits(at, n, count);
            if (grid->coded && !grid->coded[position])
                token = grid->filler;
            else if (codes > 1) {
                token_frequencies(at, n);
                token = decode_token(&decoder, at->work.frequencies, codes);
            }
            if (token < 0) {
                give_up(coding, team);
                return;
            }
            grid->tokens[position] = token;
        }
        team_reach(team, &coding->done[at->level], grid->ranks[grid->positions[first]] + 1);
    }
    if (!team_reached(&coding->failed)) team_reach(team, &coding->done[at->level], INT32_MAX);
}

static void encode_level(Coding *coding, Team *team, const LevelAtWork *at) {
    PriorGrid *grid = coding->grids + at->level;
    const int32_t codes = at->prior->levels[at->level].codes;
    RangeEncoder encoder = encoder_to(grid->payload);
    for (int32_t piece = 0; piece < grid->pieces && codes > 1; piece++) {
        const int32_t first = grid->starts[piece], count = grid->starts[piece + 1] - first;
        if (team_reached(&coding->failed)) return;
        vq_kernels()->run_blocks(at, first, count);
        for (int32_t n = 0; n < count; n++) {
            const int32_t position = grid->positions[first + n], token = grid->tokens[position];
            if (token < 0 || token >= codes) {
                give_up(coding, team);
                return;
            }
            make_logits(at, n, count);
            if (grid->coded && !grid->coded[position]) continue;
            token_frequencies(at, n);
            encode_token(&encoder, at->work.frequencies, token);
        }
    }
    grid->payload_bytes = finish_payload(&encoder);
}

/* Levels are taken from the coarsest on, so whatever a level waits for is at work or done. */
static void code_levels(Team *team, int member, void *context) {
    Coding *coding = context;
    for (int32_t level = coding->first + team_next(team); level < coding->count;
         level = coding->first + team_next(team)) {
        LevelAtWork at = {.prior = coding->prior, .grids = coding->grids, .level = level};
        work_of(coding->prior, coding->grids + level, level, coding->workspace + member * coding->member_bytes, &at.work);
        if (coding->encode)
            encode_level(coding, team, &at);
        else
            decode_level(coding, team, &at);
    }
}

static int32_t code(Coding coding, int32_t threads) {
    const int64_t tokens = coding.grids->rows * (int64_t)coding.grids->cols;
    if (!fits(coding.prior, coding.grids, coding.first, coding.count)) return -1;
    for (int32_t level = coding.first; level < coding.count; level++) {
        const PriorGrid *grid = coding.grids + level;
        if (coding.encode && grid->payload_bytes < payload_bytes(tokens)) return -1;
        if (grid->coded && (grid->filler < 0 || grid->filler >= coding.prior->levels[level].codes)) return -1;
    }
    for (int32_t level = 0; level < coding.first; level++) coding.done[level].reached = INT32_MAX;
    coding.member_bytes = member_bytes(coding.prior, coding.grids, coding.first, coding.count);
    vq_kernels();
    team_run(members(threads, coding.count - coding.first), code_levels, &coding);
    return team_reached(&coding.failed) ? -1 : 0;
}

EXPORTED(int32_t, vq_prior_decode)(const Prior *prior, const PriorGrid *grids, int32_t first, int32_t count,
                                  void *workspace, int32_t threads) {
    return code((Coding){prior, (PriorGrid *)grids, first, count, .workspace = workspace}, threads);
}

EXPORTED(int32_t, vq_prior_encode)(const Prior *prior, PriorGrid *grids, int32_t first, int32_t count, void *workspace,
                                  int32_t threads) {
    return code((Coding){prior, grids, first, count, .encode = 1, .workspace = workspace}, threads);
}

EXPORTED(int32_t, vq_prior_frequencies)(const Prior *prior, const PriorGrid *grids, int32_t level, int32_t piece,
                                       void *workspace, int32_t *frequencies) {
    LevelAtWork at = {.prior = prior, .grids = grids, .level = level};
    if (level < 0 || !shape_fits(prior, grids, level + 1)) return -1;
    if (piece < 0 || piece >= grids[level].pieces || !piece_fits(grids + level, piece)) return -1;
    const int32_t first = grids[level].starts[piece], count = grids[level].starts[piece + 1] - first;
    const int32_t codes = prior->levels[level].codes;
    work_of(prior, grids + level, level, workspace, &at.work);
    const uint64_t before = plain_arithmetic();
    vq_kernels()->run_blocks(&at, first, count);
    for (int32_t n = 0; n < count; n++, frequencies += codes) {
        make_logits(&at, n, count);
        token_frequencies(&at, n);
        for (int32_t code = 0; code < codes; code++) frequencies[code] = at.work.frequencies[code];
    }
    restore_arithmetic(before);
    return 0;
}
