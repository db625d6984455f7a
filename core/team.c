#include "team.h"

#include <stdatomic.h>

int32_t team_reached(const Progress *progress) {
    return atomic_load_explicit(&progress->reached, memory_order_acquire);
}

static void grow(Progress *progress, int32_t value) {
    int32_t now = atomic_load(&progress->reached);
    while (now < value && !atomic_compare_exchange_weak(&progress->reached, &now, value)) {}
}

uint64_t plain_arithmetic(void) {
    uint64_t before = 0;
#if defined(__x86_64__)
    before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1f80);
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
#endif
    return before;
}

void restore_arithmetic(uint64_t before) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((uint32_t)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

#if defined(__wasm__)

struct Team {
    int next;
};

void team_run(int threads, Work work, void *context) {
    Team team = {0};
    (void)threads;
    restore_arithmetic(plain_arithmetic());
    work(&team, 0, context);
}

int team_next(Team *team) { return team->next++; }
void team_wait(Team *team) { team->next = 0; }

void team_reach(Team *team, Progress *progress, int32_t value) {
    (void)team;
    grow(progress, value);
}

void team_await(Team *team, const Progress *progress, int32_t value) { (void)team, (void)progress, (void)value; }

#else

#include <pthread.h>

/* Looks at the others' state before a thread sleeps: some tens of microseconds. */
#define PATIENCE 2000

struct Team {
    atomic_int next, arrived, phase, members;
    atomic_int open;    /* the members are counted, and may begin */
    atomic_int asleep;  /* those who wait for progress, and no longer look */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Work work;
    void *context;
};

typedef struct {
    Team *team;
    int member;
} Member;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void wait_while(Team *team, atomic_int *state, int value) {
    for (int look = 0; look < PATIENCE; look++) {
        if (atomic_load_explicit(state, memory_order_acquire) != value) return;
        relax();
    }
    pthread_mutex_lock(&team->lock);
    while (atomic_load_explicit(state, memory_order_acquire) == value) pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

static void change(Team *team, atomic_int *state, int value) {
    pthread_mutex_lock(&team->lock);
    atomic_store_explicit(state, value, memory_order_release);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

int team_next(Team *team) { return atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed); }

void team_wait(Team *team) {
    int members = atomic_load_explicit(&team->members, memory_order_relaxed);
    int phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) < members - 1) {
        wait_while(team, &team->phase, phase);
        return;
    }
    atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&team->next, 0, memory_order_relaxed);
    if (members > 1)
        change(team, &team->phase, phase + 1);
    else
        atomic_store_explicit(&team->phase, phase + 1, memory_order_relaxed);
}

/* Who falls asleep says so before the last look, and who makes progress looks for sleepers after it: no one is missed. */
void team_reach(Team *team, Progress *progress, int32_t value) {
    grow(progress, value);
    if (!atomic_load(&team->asleep)) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

void team_await(Team *team, const Progress *progress, int32_t value) {
    for (int look = 0; look < PATIENCE; look++) {
        if (team_reached(progress) >= value) return;
        relax();
    }
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->asleep, 1);
    while (atomic_load(&progress->reached) < value) pthread_cond_wait(&team->changed, &team->lock);
    atomic_fetch_sub(&team->asleep, 1);
    pthread_mutex_unlock(&team->lock);
}

static void *begin(void *argument) {
    Member *self = argument;
    wait_while(self->team, &self->team->open, 0);
    plain_arithmetic();
    self->team->work(self->team, self->member, self->team->context);
    return 0;
}

void team_run(int threads, Work work, void *context) {
    Team team = {.work = work, .context = context};
    Member members[MOST_THREADS];
    pthread_t handles[MOST_THREADS];
    int count = 1;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    pthread_mutex_init(&team.lock, 0);
    pthread_cond_init(&team.changed, 0);
    for (; count < threads; count++) {
        members[count] = (Member){&team, count};
        if (pthread_create(&handles[count], 0, begin, &members[count])) break;
    }
    atomic_store(&team.members, count);
    change(&team, &team.open, 1);
    const uint64_t before = plain_arithmetic();
    work(&team, 0, context);
    restore_arithmetic(before);
    for (int member = 1; member < count; member++) pthread_join(handles[member], 0);
    pthread_cond_destroy(&team.changed);
    pthread_mutex_destroy(&team.lock);
}

#endif
