/* Doing something on several threads at once. */

#pragma once

#include <pthread.h>

#include "vectors.h"

/* The threads of PyTorch's OpenMP, where that is GNU's or speaks as it does: others beside them
   would wait for each other's cores. */
#if defined(__linux__)
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));
#define HAS_TEAM (GOMP_parallel && omp_get_thread_num && omp_get_num_threads)
#else
#define GOMP_parallel(f, a, n, g) ((void)0)
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#define HAS_TEAM 0
#endif

/* what lane `lane` does of a task */
typedef void (*Job)(const void *task, size lane);

typedef struct {
    const void *task;
    Job job;
    size lane, lanes;
} Share;

static void team_member(void *data) {
    const Share *all = data;
    /* there may be fewer threads than were asked for */
    for (size lane = omp_get_thread_num(); lane < all->lanes; lane += omp_get_num_threads())
        all->job(all->task, lane);
}

static void *one_thread(void *data) {
    const Share *own = data;
    own->job(own->task, own->lane);
    return 0;
}

/* Do `job` for lanes 0 to `lanes` - 1, and come back when all are done. */
static void each_lane(const void *task, size lanes, Job job) {
    Share all = {task, job, 0, lanes};
    if (lanes == 1) {
        job(task, 0);
        return;
    }
    if (HAS_TEAM) {
        GOMP_parallel(team_member, &all, (unsigned)lanes, 0);
        return;
    }
    pthread_t threads[lanes];
    Share shares[lanes];
    int started[lanes];
    for (size lane = 1; lane < lanes; lane++) {
        shares[lane] = (Share){task, job, lane, lanes};
        started[lane] = !pthread_create(&threads[lane], 0, one_thread, &shares[lane]);
    }
    job(task, 0);
    for (size lane = 1; lane < lanes; lane++) {
        if (started[lane]) pthread_join(threads[lane], 0);
        else job(task, lane);
    }
}
