/* The kernels for one unit of the processor. A unit_*.c defines UNIT, its name, and LANES, and includes this. */
#include "kernels.h"
#include "lanes.h"
#include "convolve.h"
#include "nearest.h"
#include "normalise.h"
#include "integers.h"
#include "attention.h"
#include "pieces.h"
#include "around.h"

#define JOINED(a, b) a##b
#define NAMED(unit) JOINED(vq_kernels_, unit)
#define TEXT(name) #name
#define QUOTED(name) TEXT(name)

const Kernels NAMED(UNIT) = {
    .name = QUOTED(UNIT),
    .rows_at_once = ROWS,
    .normalise = normalise,
    .multiply = multiply,
    .convolve3 = convolve3,
    .finish = finish,
    .nearest = nearest,
    .distances = distances,
    .run_blocks = run_blocks,
    .run_head = run_head,
    .make_frequencies = make_frequencies,
    .run_context_row = run_context_row,
    .run_context_head = run_context_head,
};
