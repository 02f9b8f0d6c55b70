from libc.stdint cimport uint32_t, uint64_t

# `count` words of Philox4x32-10 from the block with the 128-bit counter (low, high) on; never fails.
cdef int philox4x32(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high) noexcept nogil
