/* narrow.h - rounding to bfloat16, over any lanes. Those of float16 have an instruction, or the base's integers. */

/* Ties to even by integers: the bfloat16 instructions of x86 flush denormals. */
LANE u32v bfloat16_upper(f32v v) {
    u32v u = f32_bits(v);
    u32v last = u32_and(u32_shr(u, 16), u32_set(1));
    return u32_add(u, u32_add(last, u32_set(0x7FFF)));
}
