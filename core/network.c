/* Runs a network: its layers one after the other, each in phases that a team of threads shares. */
#include "kernels.h"
#include "team.h"

/* Floats that the transformed tiles of one piece of a 3 x 3 convolution may take: they should stay in a cache. */
#define TILES_FLOATS (1 << 17)
#define POSITIONS_AT_ONCE 48
#define REGISTERS 16

typedef struct {
    const Layer *layers;
    int32_t count;
    const float *weights;
    Grid *registers;
    float *scratch;  /* a normalised input, or the patches of VQ_LAPPED */
    float *own;      /* of each thread */
    int64_t own_floats;
} Run;

static int64_t area(const Grid *grid) { return (int64_t)grid->rows * grid->cols; }
static int64_t floats_of(const Grid *grid) { return area(grid) * grid->stride; }
static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t pieces(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

/* Tiles in one piece of a 3 x 3 convolution. */
static int32_t tiles_at_once(int32_t inputs) {
    const int32_t count = (int32_t)(TILES_FLOATS / (16 * whole_blocks(inputs)) / 12 * 12);
    return count < 12 ? 12 : count > 96 ? 96 : count;
}

static int32_t patch_side(const Layer *layer) { return layer->factor + 2 * layer->lap; }
static int32_t patch_blocks(const Layer *layer) { return (3 * patch_side(layer) * patch_side(layer) + 15) / 16; }
/* A row of pixels of one colour, with all that patches have beyond its ends. */
static int64_t row_floats(const Layer *layer, const Grid *x) {
    return ((int64_t)x->cols + 2) * layer->factor + 2 * layer->lap;
}

/* ---- one layer, by all threads of a team ---- */

static Finish finish_of(const Run *run, const Layer *layer) {
    return (Finish){.bias = run->weights + layer->bias, .silu = layer->flags & VQ_SILU};
}

static void normalise_all(Run *run, Team *team, const Layer *layer, Grid *x) {
    const int64_t step = 64;
    for (int64_t piece = team_next(team); piece * step < area(x); piece = team_next(team)) {
        const int64_t first = piece * step, count = first + step > area(x) ? area(x) - first : step;
        vq_kernels()->normalise(x->values + first * x->stride, run->scratch + first * x->stride, count, x->channels,
                                x->stride, run->weights + layer->gain, run->weights + layer->shift);
    }
    team_wait(team);
    x->values = run->scratch;
}

static void run_convolve3(Run *run, Team *team, const Layer *layer, float *own) {
    Convolution3 task = {.x = run->registers[layer->from],
                         .y = run->registers[layer->to],
                         .weight = run->weights + layer->weight,
                         .bias = run->weights + layer->bias,
                         .added = layer->flags & VQ_ADDED ? run->registers[layer->second].values : 0,
                         .flags = layer->flags};
    const int32_t step = tiles_at_once(layer->inputs);
    const int64_t tiles = pieces(task.y.rows, 2) * pieces(task.y.cols, 2);
    if (layer->flags & VQ_NORMALISED) normalise_all(run, team, layer, &task.x);
    for (int64_t piece = team_next(team); piece * step < tiles; piece = team_next(team)) {
        const int64_t first = piece * step;
        vq_kernels()->convolve3(&task, first, (int32_t)(first + step > tiles ? tiles - first : step), own);
    }
}

/* f x f groups of outputs, of which each goes to a position of its own. */
static void run_convolve1(Run *run, Team *team, const Layer *layer, float *own) {
    const Grid x = run->registers[layer->from], y = run->registers[layer->to];
    const int32_t f = layer->factor, blocks = whole_blocks(layer->outputs) / 16;
    const int64_t all = area(&x), block_floats = (int64_t)layer->inputs * 16;
    for (int64_t piece = team_next(team); piece * POSITIONS_AT_ONCE < all; piece = team_next(team)) {
        const int64_t first = piece * POSITIONS_AT_ONCE;
        const int32_t count = (int32_t)most(0, least(POSITIONS_AT_ONCE, (int32_t)(all - first)));
        for (int32_t block = 0; block < f * f * blocks; block++) {
            const int32_t group = block / blocks, channel = block % blocks * 16;
            Finish task = finish_of(run, layer);
            task.bias += block * 16;
            vq_kernels()->multiply(x.values + first * x.stride, x.stride, layer->inputs, count,
                                   run->weights + layer->weight + block * block_floats, own);
            for (int32_t done = 0; done < count;) { /* as much as lies in one row of the input */
                const int64_t place = first + done;
                const int32_t row = (int32_t)(place / x.cols), col = (int32_t)(place % x.cols);
                const int32_t together = least(count - done, x.cols - col);
                const int64_t to =
                    (((int64_t)row * f + group / f) * y.cols + (int64_t)col * f + group % f) * y.stride + channel;
                task.to = y.values + to;
                task.added = layer->flags & VQ_ADDED ? run->registers[layer->second].values + to : 0;
                task.stride = (int64_t)y.stride * f;
                vq_kernels()->finish(&task, own + done * 16, together);
                done += together;
            }
        }
    }
}

/* Each patch of f x f positions in a row, then a product of matrices. */
static void run_patches(Run *run, Team *team, const Layer *layer, float *own) {
    const Grid x = run->registers[layer->from], y = run->registers[layer->to];
    const int32_t f = layer->factor, channels = layer->inputs, inputs = f * f * channels;
    const int64_t all = area(&y);
    float *rows = own + POSITIONS_AT_ONCE * 16;
    for (int64_t piece = team_next(team); piece * POSITIONS_AT_ONCE < all; piece = team_next(team)) {
        const int64_t first = piece * POSITIONS_AT_ONCE;
        const int32_t count = least(POSITIONS_AT_ONCE, (int32_t)(all - first));
        for (int32_t place = 0; place < count; place++) {
            const int64_t row = (first + place) / y.cols, col = (first + place) % y.cols;
            float *to = rows + (int64_t)place * inputs;
            for (int32_t a = 0; a < f; a++) {
                for (int32_t b = 0; b < f; b++) {
                    const float *from = x.values + ((row * f + a) * x.cols + col * f + b) * x.stride;
                    for (int32_t c = 0; c < channels; c++) *to++ = from[c];
                }
            }
        }
        for (int32_t block = 0; block < y.stride / 16; block++) {
            Finish task = finish_of(run, layer);
            task.bias += block * 16;
            task.to = y.values + first * y.stride + block * 16;
            task.added = layer->flags & VQ_ADDED ? run->registers[layer->second].values + (task.to - y.values) : 0;
            task.stride = y.stride;
            vq_kernels()->multiply(rows, inputs, inputs, count,
                                   run->weights + layer->weight + (int64_t)block * inputs * 16, own);
            vq_kernels()->finish(&task, own, count);
        }
    }
}

/* Channel (c, a, b) of a position is channel c of row a and column b of its f x f pixels. */
static void run_gather(Run *run, Team *team, const Layer *layer) {
    const Grid x = run->registers[layer->from], y = run->registers[layer->to];
    const int32_t f = layer->factor;
    for (int64_t row = team_next(team); row < y.rows; row = team_next(team)) {
        for (int32_t col = 0; col < y.cols; col++) {
            float *to = y.values + (row * y.cols + col) * y.stride;
            for (int32_t c = 0; c < x.channels; c++)
                for (int32_t a = 0; a < f; a++)
                    for (int32_t b = 0; b < f; b++)
                        *to++ = x.values[((row * f + a) * x.cols + (int64_t)col * f + b) * x.stride + c];
            for (int32_t rest = y.channels; rest < y.stride; rest++) *to++ = 0;
        }
    }
}

static void run_spread(Run *run, Team *team, const Layer *layer) {
    const Grid x = run->registers[layer->from], y = run->registers[layer->to];
    const float *added = layer->flags & VQ_ADDED ? run->registers[layer->second].values : 0;
    const int32_t f = layer->factor;
    for (int64_t row = team_next(team); row < y.rows; row = team_next(team)) {
        for (int32_t col = 0; col < y.cols; col++) {
            const float *from = x.values + ((row / f) * x.cols + col / f) * x.stride + (row % f) * f + col % f;
            const int64_t to = (row * y.cols + col) * y.stride;
            for (int32_t c = 0; c < y.channels; c++)
                y.values[to + c] = added ? from[c * f * f] + added[to + c] : from[c * f * f];
            for (int32_t c = y.channels; c < y.stride; c++) y.values[to + c] = 0;
        }
    }
}

/* The patches of all positions, and of one position more all around, into the scratch. */
static void make_patches(Run *run, Team *team, const Layer *layer, float *own) {
    const Grid x = run->registers[layer->from];
    const int32_t cols = x.cols + 2, blocks = patch_blocks(layer);
    const int64_t around = ((int64_t)x.rows + 2) * cols;
    float *rows = own + POSITIONS_AT_ONCE * 16;
    for (int64_t piece = team_next(team); piece * POSITIONS_AT_ONCE < around; piece = team_next(team)) {
        const int64_t first = piece * POSITIONS_AT_ONCE;
        const int32_t count = (int32_t)(first + POSITIONS_AT_ONCE > around ? around - first : POSITIONS_AT_ONCE);
        for (int32_t place = 0; place < count; place++) {
            int32_t row = (int32_t)((first + place) / cols) - 1, col = (int32_t)((first + place) % cols) - 1;
            row = row < 0 ? 0 : least(row, x.rows - 1);
            col = col < 0 ? 0 : least(col, x.cols - 1);
            const float *from = x.values + ((int64_t)row * x.cols + col) * x.stride;
            for (int32_t c = 0; c < x.channels; c++) rows[place * x.channels + c] = from[c];
        }
        for (int32_t block = 0; block < blocks; block++) {
            vq_kernels()->multiply(rows, x.channels, x.channels, count,
                                   run->weights + layer->weight + (int64_t)block * layer->inputs * 16, own);
            for (int32_t place = 0; place < count; place++)
                for (int32_t c = 0; c < 16; c++)
                    run->scratch[((first + place) * blocks + block) * 16 + c] = own[place * 16 + c];
        }
    }
}

static void add(float *restrict to, const float *restrict from, int32_t count) {
    for (int32_t n = 0; n < count; n++) to[n] = to[n] + from[n];
}

/* Each pixel is what its patches add up to, in the order of their positions, and the bias. */
static void run_lapped(Run *run, Team *team, const Layer *layer, float *own) {
    const Grid x = run->registers[layer->from], y = run->registers[layer->to];
    const int32_t f = layer->factor, lap = layer->lap, side = patch_side(layer), cols = x.cols + 2;
    const int64_t patch_floats = patch_blocks(layer) * 16;
    make_patches(run, team, layer, own);
    team_wait(team);
    for (int64_t row = team_next(team); row < y.rows; row = team_next(team)) {
        for (int32_t c = 0; c < 3; c++) {
            const float bias = run->weights[layer->bias + c];
            for (int64_t at = 0; at < row_floats(layer, &x); at++) own[at] = 0;
            for (int64_t above = (row + f - lap) / f; above <= (row + f + lap) / f; above++) {
                const int32_t a = (int32_t)(row + f + lap - above * f);
                if (a >= side) continue;
                const float *from = run->scratch + above * cols * patch_floats + (c * side + a) * side;
                for (int32_t left = 0; left < cols; left++) add(own + left * f, from + left * patch_floats, side);
            }
            float *to = y.values + row * y.cols * y.stride + c;
            for (int32_t col = 0; col < y.cols; col++) to[(int64_t)col * y.stride] = own[col + f + lap] + bias;
        }
    }
}

static void run_by_position(Run *run, Team *team, const Layer *layer) {
    const Grid x = run->registers[layer->from], other = run->registers[layer->second], y = run->registers[layer->to];
    for (int64_t row = team_next(team); row < y.rows; row = team_next(team)) {
        for (int32_t col = 0; col < y.cols; col++) {
            const float *a = x.values + (row * x.cols + col) * x.stride;
            const float *b = other.values + (row * other.cols + col) * other.stride;
            float *to = y.values + (row * y.cols + col) * y.stride;
            if (layer->kind == VQ_JOIN) {
                for (int32_t c = 0; c < x.channels; c++) to[c] = a[c];
                for (int32_t c = 0; c < other.channels; c++) to[x.channels + c] = b[c];
                for (int32_t c = y.channels; c < y.stride; c++) to[c] = 0;
            } else {
                for (int32_t c = 0; c < y.stride; c++) to[c] = layer->kind == VQ_DIFFERENCE ? a[c] - b[c] : a[c] + b[c];
            }
        }
    }
}

/* ---- shapes ---- */

static int32_t flags_of(int32_t kind) {
    switch (kind) {
    case VQ_CONVOLVE3: return VQ_NORMALISED | VQ_SILU | VQ_ADDED | VQ_ZEROS;
    case VQ_CONVOLVE1:
    case VQ_PATCHES: return VQ_SILU | VQ_ADDED;
    case VQ_SPREAD: return VQ_ADDED;
    default: return 0;
    }
}

static int32_t counts_fit(const Layer *layer, const Grid *other) {
    const int32_t f2 = layer->factor * layer->factor;
    switch (layer->kind) {
    case VQ_GATHER: return layer->outputs == layer->inputs * f2;
    case VQ_SPREAD: return layer->outputs * f2 == layer->inputs;
    case VQ_LAPPED: return layer->outputs == 3 && layer->lap >= 0 && layer->lap <= layer->factor;
    case VQ_JOIN: return layer->outputs == layer->inputs + other->channels;
    case VQ_SUM:
    case VQ_DIFFERENCE: return layer->outputs == layer->inputs && other->channels == layer->inputs;
    default: return layer->inputs <= MOST_ZEROS || !(layer->flags & VQ_ZEROS);
    }
}

/* What is read is not written at the same time: a layer may go to one of its registers only number by number. */
static int32_t in_place_fits(const Layer *layer, const Grid *x, const Grid *other, const Grid *y) {
    const int32_t by_number = layer->kind == VQ_SUM || layer->kind == VQ_DIFFERENCE;
    if (layer->to == layer->from && !(by_number && x->rows == y->rows && x->cols == y->cols)) return 0;
    if (layer->to != layer->second || layer->flags & VQ_ADDED || layer->kind < VQ_JOIN) return 1;
    return by_number && other->rows == y->rows && other->cols == y->cols;
}

static int32_t fits(const Layer *layer, const Grid *x, const Grid *other, const Grid *y) {
    if (x->rows < 1 || x->channels != layer->inputs || layer->inputs < 1 || layer->outputs < 1) return 0;
    if (layer->flags & ~flags_of(layer->kind)) return 0;
    if (layer->kind <= VQ_CONVOLVE1 && x->stride % 16) return 0;
    if (layer->kind >= VQ_JOIN && other->rows < 1) return 0;
    if (layer->kind > VQ_JOIN && other->stride != x->stride) return 0;
    if (!counts_fit(layer, other) || !in_place_fits(layer, x, other, y)) return 0;
    return !(layer->flags & VQ_ADDED) || (other->rows == y->rows && other->cols == y->cols &&
                                          other->channels == y->channels && other->stride == y->stride);
}

/* The shape of what a layer gives; 0 rows if it cannot be. */
static Grid shape_after(const Layer *layer, const Grid *registers) {
    const int32_t f = layer->factor, with_factor = layer->kind >= VQ_CONVOLVE1 && layer->kind <= VQ_LAPPED;
    if ((layer->from | layer->second | layer->to) & ~(REGISTERS - 1) || (with_factor && f < 1)) return (Grid){0};
    const Grid x = registers[layer->from], other = registers[layer->second];
    Grid y = {x.rows, x.cols, layer->outputs, whole_blocks(layer->outputs), 0};
    switch (layer->kind) {
    case VQ_CONVOLVE3: break;
    case VQ_CONVOLVE1: y.rows *= f, y.cols *= f; break;
    case VQ_SPREAD:
    case VQ_LAPPED:
        y.rows *= f, y.cols *= f;
        y.stride = y.channels;
        break;
    case VQ_PATCHES:
    case VQ_GATHER:
        if (x.rows % f || x.cols % f) return (Grid){0};
        y.rows /= f, y.cols /= f;
        break;
    case VQ_JOIN:
    case VQ_SUM:
    case VQ_DIFFERENCE: y.rows = least(x.rows, other.rows), y.cols = least(x.cols, other.cols); break;
    default: return (Grid){0};
    }
    if (layer->kind > VQ_JOIN) y.stride = x.stride;
    return fits(layer, &x, &other, &y) ? y : (Grid){0};
}

static int64_t scratch_floats(const Layer *layer, const Grid *x) {
    if (layer->kind == VQ_LAPPED)
        return (int64_t)(x->rows + 2) * (x->cols + 2) * patch_blocks(layer) * 16;
    return layer->flags & VQ_NORMALISED ? floats_of(x) : 0;
}

static int64_t own_floats(const Layer *layer, const Grid *x) {
    if (layer->kind == VQ_CONVOLVE3) return winograd_floats(layer->inputs, tiles_at_once(layer->inputs));
    if (layer->kind == VQ_PATCHES)
        return POSITIONS_AT_ONCE * (16 + (int64_t)layer->factor * layer->factor * layer->inputs);
    if (layer->kind == VQ_LAPPED) return most(POSITIONS_AT_ONCE * (16 + (int64_t)layer->inputs), row_floats(layer, x));
    return POSITIONS_AT_ONCE * 16;
}

typedef struct {
    int64_t scratch, own; /* floats, multiples of 16 */
} Needs;

/* Puts shapes into the registers as the layers run; 0 if they do not fit. */
static int32_t plan(const Layer *layers, int32_t count, Grid *registers, int64_t *floats, Needs *needs) {
    needs->scratch = needs->own = 0;
    for (int32_t number = 0; number < count; number++) {
        const Layer *layer = layers + number;
        const Grid y = shape_after(layer, registers);
        if (!y.rows) return 0;
        needs->scratch = most(needs->scratch, scratch_floats(layer, registers + layer->from));
        needs->own = most(needs->own, own_floats(layer, registers + layer->from));
        float *values = registers[layer->to].values;
        registers[layer->to] = y;
        registers[layer->to].values = values;
        if (floats) floats[layer->to] = most(floats[layer->to], floats_of(&y));
    }
    needs->scratch = pieces(needs->scratch, 16) * 16;
    needs->own = pieces(needs->own, 16) * 16;
    return 1;
}

EXPORTED(int64_t, vq_plan)(const Layer *layers, int32_t count, Grid *registers, int64_t *floats, int32_t threads) {
    Needs needs;
    if (!plan(layers, count, registers, floats, &needs)) return -1;
    return needs.scratch + needs.own * threads;
}

static void work(Team *team, int member, void *context) {
    Run *run = context;
    float *own = run->own + member * run->own_floats;
    for (int32_t number = 0; number < run->count; number++) {
        const Layer *layer = run->layers + number;
        if (number) team_wait(team);
        if (!member) { /* the shape, which the others see after the next wait */
            float *values = run->registers[layer->to].values;
            run->registers[layer->to] = shape_after(layer, run->registers);
            run->registers[layer->to].values = values;
        }
        team_wait(team);
        switch (layer->kind) {
        case VQ_CONVOLVE3: run_convolve3(run, team, layer, own); break;
        case VQ_CONVOLVE1: run_convolve1(run, team, layer, own); break;
        case VQ_PATCHES: run_patches(run, team, layer, own); break;
        case VQ_GATHER: run_gather(run, team, layer); break;
        case VQ_SPREAD: run_spread(run, team, layer); break;
        case VQ_LAPPED: run_lapped(run, team, layer, own); break;
        default: run_by_position(run, team, layer);
        }
    }
}

EXPORTED(int32_t, vq_run)(const Layer *layers, int32_t count, const float *weights, Grid *registers, float *workspace,
                         int32_t threads) {
    Grid shapes[REGISTERS];
    Needs needs;
    for (int number = 0; number < REGISTERS; number++) shapes[number] = registers[number];
    if (threads < 1 || !plan(layers, count, shapes, 0, &needs)) return -1;
    vq_kernels(); /* chosen before there are threads */
    Run run = {layers, count, weights, registers, workspace, workspace + needs.scratch, needs.own};
    team_run(threads, work, &run);
    return 0;
}
