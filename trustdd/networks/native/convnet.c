/* A ConvNet's gradients on a CPU: threads take pieces of a batch, small enough for a core's cache.

   Blocks of 3x3 convolution, instance norm with scale and shift, ReLU and 2x2 average pooling, and
   a linear layer behind them: trustdd.networks.ConvNet. Activations lie channels last, so that
   every operation but the products works on whole vectors of channels.

   The first convolution is one product with the image's patches. The others are Winograd's
   F(4x4, 3x3) (Lavin and Gray 2016): tiles of 6x6 inputs are transformed, multiplied point by point
   with the transformed weights, 36 products with a quarter of the multiplications, and transformed
   back to 4x4 outputs. With d, g, y for a tile, its weights and its outputs,

       y = At (G g Gt . Bt d B) A,

   the gradients are the transposes: by_g = Gt ((A by_y At) . (Bt d B)) G, summed over tiles before
   the outer transform, and by_d = B ((G g Gt) . (A by_y At)) Bt, summed where tiles overlap.

   The derivative of these gradients along a direction of the parameters (Pearlmutter's R operator)
   goes through the same operations a second time: along.h.

   A convolution's bias is not added: the norm behind it takes it out again.

   With bf16, the 36 products multiply bfloat16 numbers and add them up in float32; everything else
   is float32. Where the instructions are missing, HAS_BF16 is 0.

   The ideas, each in a header, from the bottom:

       vectors.h     vectors of numbers, as this CPU has them
       plan.h        the sizes of a network, and those that follow from them
       workspace.h   where the numbers of a pass lie in the room that Python gives
       products.h    products of matrices
       winograd.h    the transforms of one tile
       tiles.h       of all tiles of a block's pictures
       block.h       norm, ReLU and pooling
       piece.h       a piece of a batch, and where its numbers lie
       passes.h      forward and back
       along.h       derivatives along a direction
       parameters.h  parameters as the passes read them, gradients as Python reads them
       threads.h     threads

   They are one translation unit, so that everything can be inlined.
*/

#include "along.h"
#include "parameters.h"
#include "threads.h"

/* What is to be done with a batch. Where there are `gradients`, those of the loss that `targets` and
   `weights` make. Where there is a `direction`, too, the derivatives along it, in float32 only: of
   the images' gradient, and of the parameters' where there are `by_parameters`. Lists of tensors are
   in `parameters()` order. */
typedef struct {
    size count;                       /* images */
    size lanes;                       /* threads */
    size bytes;                       /* about what a piece's numbers take */
    const float *images;              /* [count, channels, image, image] */
    const float *targets, *weights;   /* [count, classes] and [count], or none */
    const float *const *parameters, *const *direction;
    float *logits;                    /* [count, classes] */
    float *embedded;                  /* features in the usual order, [count, features], or none */
    float *const *gradients;
    float *by_images;
    float *const *by_parameters;
    double *spent;                    /* [lanes, KINDS], which seconds are added to, or none */
} Batch;

/* a batch, split into pieces, and the room for it */
typedef struct {
    const Plan *plan;
    const Batch *batch;
    int mode;
    size each;                        /* images a piece */
    Prepared ready, more;
    /* of the first lane; the others' behind it */
    float *sums, *sums_along, *work, *logits;
    size sums_floats, work_floats, logits_floats;
} Task;

INLINE int mode_of(const Batch *b) { return b->direction ? ALONG : b->gradients ? BACK : FORWARD; }

/* images a piece: few enough for a core's cache, and as many for every lane */
static size images_each(const Plan *p, const Batch *b) {
    size most = b->bytes / (size)sizeof(float) / work_at(p, 0, 1, mode_of(b), &(Work){0});
    if (most < 1) most = 1;
    size pieces = (b->count + most - 1) / most;
    pieces = (pieces + b->lanes - 1) / b->lanes * b->lanes;
    return (b->count + pieces - 1) / pieces;
}

static void begin_lane(const void *task, size lane) {
    const Task *t = task;
    const Batch *b = t->batch;
    prepare(t->plan, b->parameters, &t->ready, b->lanes, lane);
    if (b->direction) prepare(t->plan, b->direction, &t->more, b->lanes, lane);
    size bytes = t->sums_floats * sizeof(float);
    if (t->sums) memset(t->sums + lane * t->sums_floats, 0, bytes);
    if (t->sums_along) memset(t->sums_along + lane * t->sums_floats, 0, bytes);
}

/* images `first` and on */
static void take_through(const Task *t, size first, Piece *piece) {
    const Plan *p = t->plan;
    const Batch *b = t->batch;
    piece->images = b->images + first * cells(p);
    piece->logits = b->logits + first * p->classes;
    if (b->targets) piece->targets = b->targets + first * p->classes;
    if (b->weights) piece->weights = b->weights + first;
    if (b->by_images) piece->by_images = b->by_images + first * cells(p);
    forward(piece);
    classify(piece);
    if (b->embedded)
        reorder(p, piece->n, piece->work->embedded, b->embedded + first * features(p), 1);
    if (t->mode >= BACK) backward(piece);
    if (t->mode == ALONG) along(piece);
}

static void pieces_of_lane(const void *task, size lane) {
    const Task *t = task;
    const Batch *b = t->batch;
    Sums sums, sums_along;
    Work work;
    if (t->sums) sums_at(t->plan, t->sums + lane * t->sums_floats, &sums);
    if (t->sums_along) sums_at(t->plan, t->sums_along + lane * t->sums_floats, &sums_along);
    work_at(t->plan, t->work + lane * t->work_floats, t->each, t->mode, &work);
    work.spent = b->spent ? b->spent + lane * KINDS : 0;
    Piece piece = {
        .plan = t->plan, .mode = t->mode, .parameters = b->parameters, .direction = b->direction,
        .ready = &t->ready, .more = &t->more, .sums = t->sums ? &sums : 0,
        .sums_along = t->sums_along ? &sums_along : 0, .work = &work,
    };
    size used = 0;
    piece.shares = take(t->logits + lane * t->logits_floats, &used, t->plan->classes);
    piece.changes = take(t->logits + lane * t->logits_floats, &used, t->plan->classes);
    size pieces = (b->count + t->each - 1) / t->each;
    for (size k = lane; k < pieces; k += b->lanes) {
        size first = part(b->count, pieces, k);
        piece.n = part(b->count, pieces, k + 1) - first;
        take_through(t, first, &piece);
    }
}

/* a share of the lanes' sums, added up in the lanes' order */
static void add_lane(const void *task, size lane) {
    const Task *t = task;
    size floats = t->sums_floats, lanes = t->batch->lanes;
    size first = part(floats, lanes, lane), last = part(floats, lanes, lane + 1);
    for (size other = 1; other < lanes; other++)
        for (size k = first; k < last; k++) {
            t->sums[k] += t->sums[other * floats + k];
            if (t->sums_along) t->sums_along[k] += t->sums_along[other * floats + k];
        }
}

static void finish_lane(const void *task, size lane) {
    const Task *t = task;
    const Batch *b = t->batch;
    finish(t->plan, t->sums, b->gradients, b->lanes, lane);
    if (t->sums_along) finish(t->plan, t->sums_along, b->by_parameters, b->lanes, lane);
}

/* where everything lies in the room; returns how many floats it takes */
static size task_at(const Plan *p, const Batch *b, float *room, Task *t) {
    *t = (Task){.plan = p, .batch = b, .mode = mode_of(b), .each = images_each(p, b)};
    t->sums_floats = sums_at(p, 0, &(Sums){0});
    t->work_floats = work_at(p, 0, t->each, t->mode, &(Work){0});
    take(0, &t->logits_floats, p->classes);
    take(0, &t->logits_floats, p->classes);
    size used = prepared_at(p, room, &t->ready);
    if (b->direction) used += prepared_at(p, room ? room + used : 0, &t->more);
    if (b->gradients) t->sums = take(room, &used, b->lanes * t->sums_floats);
    if (b->by_parameters) t->sums_along = take(room, &used, b->lanes * t->sums_floats);
    t->work = take(room, &used, b->lanes * t->work_floats);
    t->logits = take(room, &used, b->lanes * t->logits_floats);
    return used;
}

/* ---------------------------------------------------------------- what Python calls */

int trustdd_has_bf16(void) { return HAS_BF16; }

/* how many floats of room `trustdd_run` needs */
size trustdd_room(const Plan *p, const Batch *b) { return task_at(p, b, 0, &(Task){0}); }

/* Take a batch through the network. */
void trustdd_run(const Plan *p, const Batch *b, float *room) {
    Task t;
    task_at(p, b, room, &t);
    each_lane(&t, b->lanes, begin_lane);
    each_lane(&t, b->lanes, pieces_of_lane);
    if (t.mode == FORWARD) return;
    each_lane(&t, b->lanes, add_lane);
    each_lane(&t, b->lanes, finish_lane);
}
