/* Threads that work on the same list of phases: every one runs the same function, and takes pieces of each phase.

   Nothing that is computed depends on how many there are. Without threads (wasm32) a team has one member. */
#ifndef VQ_TEAM_H
#define VQ_TEAM_H

#include <stdint.h>

#define MOST_THREADS 64

typedef struct Team Team;
typedef void (*Work)(Team *team, int member, void *context);

/* Rounding to the nearest and no flushing of the smallest numbers, whatever the process has set; returns what it was.
   Teams compute so; what computes without one asks for it. */
uint64_t plain_arithmetic(void);
void restore_arithmetic(uint64_t before);

/* Runs work on so many threads, the caller's among them, and returns when all are done. With fewer if the system gives
   fewer. */
void team_run(int threads, Work work, void *context);

/* The next piece of this phase that nobody has taken: 0, 1, ... */
int team_next(Team *team);

/* Waits until all members are here: the end of a phase. */
void team_wait(Team *team);

/* How far something is that others wait for: it only grows. */
typedef struct {
    _Atomic int32_t reached;
} Progress;

int32_t team_reached(const Progress *progress);
void team_reach(Team *team, Progress *progress, int32_t value);
/* Waits until it has reached `value`. Without threads that must have happened. */
void team_await(Team *team, const Progress *progress, int32_t value);

#endif
