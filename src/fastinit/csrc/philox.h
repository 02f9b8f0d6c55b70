/* philox.h - Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC'11).
 *
 * Template over the lane operations. The four words x0 .. x3 of a block's state are packed in two vectors: x holds x0
 * and x2, y holds x1 and x3, both of a block in one 64-bit lane, or next to it.
 *
 * Words go to a buffer in `vector pairs`: LANES words of even position in the tensor, then their
 * LANES odd neighbours, so that Box-Muller finds its pairs in equal lanes. A vector pair holds
 * LANES/2 blocks. Slot s of them, in the order of the tensor, lies in 64-bit lane PHILOX_LANE(s):
 * that is what the one unpack of *_store_pairs turns back into the tensor's order. */

#define BLOCKS (LANES / 2) /* blocks in a vector pair */
#define PAIR (2 * LANES)   /* words in a vector pair */
#define PHILOX_LANE(slot) ((slot) < (BLOCKS + 1) / 2 ? 2 * (slot) : 2 * ((slot) - BLOCKS / 2) + 1)

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

/* A round is two multiplications that widen, a shift, two shuffles (the upper and the lower halves of the products) and
 * a three-way xor. philox_set(round, a, b): a where x0 lies before the round, b where x2 does. Below, x0 lies in the
 * lower half of a 64-bit lane and x2 above it, except before round 2, as philox_blocks leaves them. (Rounds count from
 * 0.) philox_listed_highs: x before round 1, but for its keys, from a block's number, whose upper half is c1, and round
 * 0's product of its lower half. */
#ifndef PHILOX_ORDER
LANE u64v philox_set(int round, uint32_t a, uint32_t b) {
    return round == 2 ? u64_set(b | (uint64_t)a << 32) : u64_set(a | (uint64_t)b << 32);
}
LANE u64v philox_highs(int round, u64v p, u64v q) {
    return round == 1 || round == 2 ? u64_join_high(p, q) : u64_join_high(q, p);
}
LANE u64v philox_lows(int round, u64v x, u64v m, u64v p, u64v q) {
    (void)x, (void)m;
    return round == 0 || round == 2 ? u64_join(p, q) : u64_join(q, p);
}
LANE u64v philox_listed_highs(u64v counter, u64v p) { return u64_blend(u64_shr(counter, 32), p); }
LANE u64v philox_first_lows(u64v p, u64v q) { return u64_join(p, q); }
LANE u64v philox_last(u64v x) { return x; }
#endif

typedef struct {
    u64v keys[10], even[10], odd[10]; /* even, odd: the multipliers of x's even and odd words */
} philox_constants;

LANE void philox_prepare(philox_constants *c, const uint32_t key[2], int first_round) {
    UNROLL
    for (int round = first_round; round < 10; round++) {
        c->keys[round] =
            philox_set(round + 1, key[0] + (uint32_t)round * PHILOX_W0, key[1] + (uint32_t)round * PHILOX_W1);
        c->even[round] = philox_set(round, PHILOX_M0, PHILOX_M1);
        c->odd[round] = u64_shr(c->even[round], 32);
    }
}

/* Rounds from 1 or 2 on: a loop that can be unrolled where a compiler does not see which. */
LANE void philox_rounds(u64v x[GROUPS], u64v y[GROUPS], const philox_constants *c, int first_round) {
    UNROLL
    for (int round = 1; round < 10; round++) {
        if (round < first_round)
            continue;
        UNROLL
        for (int g = 0; g < GROUPS; g++) {
            u64v p = u64_mul32(x[g], c->even[round]), q = u64_mul32(u64_shr(x[g], 32), c->odd[round]);
            u64v lows = philox_lows(round, x[g], c->even[round], p, q);
            x[g] = u64_xor3(philox_highs(round, p, q), y[g], c->keys[round]);
            y[g] = lows;
        }
    }
}

LANE void philox_store(uint32_t *buffer, const u64v x[GROUPS], const u64v y[GROUPS], int in_order) {
    UNROLL
    for (int g = 0; g < GROUPS; g++) {
        const u32v even = u32_of_u64(philox_last(x[g])), odd = u32_of_u64(y[g]);
        if (in_order) {
            u32_store_pairs(buffer + g * PAIR, even, odd);
        } else {
            u32_store(buffer + g * PAIR, even);
            u32_store(buffer + g * PAIR + LANES, odd);
        }
    }
}

/* `pairs` vector pairs of consecutive blocks; writes up to GROUPS - 1 more (a test for each store makes GCC compute the
 * groups one after the other, at half the speed). c1 must not change within them: then the products of c2 in round 0
 * and of the word it makes with c1 in round 1 are the same for all, and are hoisted. `in_order` stores words as the
 * stream has them, else as vector pairs. `ahead`, if not NULL, is the memory that these words' elements will go to,
 * `bytes` for a vector pair: its lines are fetched while the words are made. */
LANE void philox_blocks(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2], uint64_t block,
                        int in_order, const char *ahead, size_t bytes) {
    philox_constants constants;
    philox_prepare(&constants, key, 2);
    uint64_t slots[BLOCKS];
    for (unsigned slot = 0; slot < BLOCKS; slot++)
        slots[slot] = slot;
    const uint32_t c1 = (uint32_t)(block >> 32);
    const uint64_t c2_product = (uint64_t)stream[0] * PHILOX_M1;
    const uint32_t x0_round1 = (uint32_t)(c2_product >> 32) ^ c1 ^ key[0];
    const uint64_t x0_product = (uint64_t)x0_round1 * PHILOX_M0;
    const u64v x3_key = u64_set(stream[1] ^ key[1]);
    const u64v x_key = philox_set(2, (uint32_t)c2_product ^ (uint32_t)(key[0] + PHILOX_W0),
                                  (uint32_t)(x0_product >> 32) ^ (uint32_t)(key[1] + PHILOX_W1));
    const u64v x3_round2 = u64_set((uint32_t)x0_product);
    u64v counter = u64_add(u64_set((uint32_t)block), u64_load_slots(slots));

    for (size_t done = 0; done < pairs; done += GROUPS, buffer += GROUPS * PAIR) {
        u64v x[GROUPS], y[GROUPS];
        UNROLL
        for (int g = 0; g < GROUPS; g++) {
            u64v p0 = u64_mul32(counter, u64_set(PHILOX_M0));                       /* round 0 */
            u64v p1 = u64_mul32(u64_xor(u64_high(p0), x3_key), u64_set(PHILOX_M1)); /* round 1 */
            x[g] = u64_xor(u64_blend(p0, p1), x_key);
            y[g] = philox_first_lows(p1, x3_round2);
            counter = u64_add(counter, u64_set(BLOCKS));
        }
        philox_rounds(x, y, &constants, 2);
        philox_store(buffer, x, y, in_order);
        if (ahead)
            for (size_t line = 0; line < GROUPS * bytes; line += 64)
                __builtin_prefetch(ahead + done * bytes + line, 1);
    }
}

/* Functions of their own, not inlined: together in one, GCC keeps fewer keys in registers (AVX2: 1.2 times as slow). */
#define OWN_FUNCTION static __attribute__((noinline)) void
OWN_FUNCTION FN(philox_run)(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                            uint64_t block) {
    philox_blocks(buffer, pairs, key, stream, block, 0, NULL, 0);
}
OWN_FUNCTION FN(philox_run_ahead)(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                                  uint64_t block, const char *ahead, size_t bytes) {
    philox_blocks(buffer, pairs, key, stream, block, 0, ahead, bytes);
}
OWN_FUNCTION FN(philox_run_in_order)(uint32_t *out, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                                     uint64_t block) {
    philox_blocks(out, pairs, key, stream, block, 1, NULL, 0);
}

#if LANES == 2
/* A thread of a GPU has its block in registers of 32 bits, where packing costs and gains nothing (an eighth more
 * instructions): the four words in the lower halves of lanes of their own. */
static void FN(philox_list)(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                            const uint64_t *blocks) {
    for (size_t i = 0; i < pairs; i++, buffer += PAIR) {
        u64v x0 = u64_load(blocks + i), x1 = u64_shr(x0, 32), x2 = u64_set(stream[0]), x3 = u64_set(stream[1]);
        UNROLL
        for (int round = 0; round < 10; round++) {
            const u64v k0 = u64_set((uint32_t)(key[0] + (uint32_t)round * PHILOX_W0));
            const u64v k1 = u64_set((uint32_t)(key[1] + (uint32_t)round * PHILOX_W1));
            const u64v p0 = u64_mul32(x0, u64_set(PHILOX_M0)), p1 = u64_mul32(x2, u64_set(PHILOX_M1));
            x0 = u64_xor3(u64_high(p1), x1, k0);
            x2 = u64_xor3(u64_high(p0), x3, k1);
            x1 = p1;
            x3 = p0;
        }
        u32_store(buffer, u32_of_u64(u64_join(x0, x2)));
        u32_store(buffer + LANES, u32_of_u64(u64_join(x1, x3)));
    }
}
#else
/* The same for blocks anywhere: `blocks` has as many as GROUPS vector pairs at a time make. */
LANE void philox_listed(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                        const uint64_t *blocks, const char *ahead, size_t bytes) {
    philox_constants constants;
    philox_prepare(&constants, key, 1);
    const uint64_t c2_product = (uint64_t)stream[0] * PHILOX_M1;
    const u64v x_key = philox_set(1, (uint32_t)(c2_product >> 32) ^ key[0], stream[1] ^ key[1]);
    const u64v x1_round1 = u64_set((uint32_t)c2_product);
    for (size_t done = 0; done < pairs; done += GROUPS, blocks += GROUPS * BLOCKS, buffer += GROUPS * PAIR) {
        u64v x[GROUPS], y[GROUPS];
        UNROLL
        for (int g = 0; g < GROUPS; g++) {
            const u64v counter = u64_load_slots(blocks + g * BLOCKS);
            const u64v p0 = u64_mul32(counter, u64_set(PHILOX_M0)); /* round 0 */
            x[g] = u64_xor(philox_listed_highs(counter, p0), x_key);
            y[g] = u64_join(p0, x1_round1);
        }
        philox_rounds(x, y, &constants, 1);
        philox_store(buffer, x, y, 0);
        if (ahead)
            for (size_t line = 0; line < GROUPS * bytes; line += 64)
                __builtin_prefetch(ahead + done * bytes + line, 1);
    }
}
static void FN(philox_list)(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                            const uint64_t *blocks) {
    philox_listed(buffer, pairs, key, stream, blocks, NULL, 0);
}
static void FN(philox_list_ahead)(uint32_t *buffer, size_t pairs, const uint32_t key[2], const uint32_t stream[2],
                                  const uint64_t *blocks, const char *ahead, size_t bytes) {
    philox_listed(buffer, pairs, key, stream, blocks, ahead, bytes);
}
#endif
