from libc.stdint cimport uint32_t, uint64_t

# What `fastinit.kernels` gives to other Cython code. Names, constants and
# signatures will not change: a function that needs more arguments will be a new one, with a new name.

# The dtypes and distributions of `fill_range`.
cdef enum:
    FLOAT32 = 0
    FLOAT64 = 1
    FLOAT16 = 2
    BFLOAT16 = 3

cdef enum:
    CONSTANT = 0          # parameters: value
    UNIFORM = 1           # low, high
    NORMAL = 2            # mean, std
    TRUNCATED_NORMAL = 3  # mean, std, lower, upper: cuts in units of std

# Elements `first` .. `first + count - 1` of a tensor, by its flat C-order index, to contiguous memory, aligned or not, on
# up to `threads` threads. `parameters` are four numbers, of which the distribution reads its own; key and stream are
# those of fastinit.stream_key, the stream being the counter's upper 64 bits. The same bits as everywhere in fastinit.
# Returns NULL, or why the arguments are refused: then nothing has been written.
cdef const char *fill_range(void *out, size_t count, uint64_t first, int dtype, int distribution,
                            const double *parameters, uint64_t key, uint64_t stream, int threads) noexcept nogil

# `count` words of Philox4x32-10 from the block with the 128-bit counter (low, high) on, by the calling thread. Returns 0.
cdef int philox4x32(uint32_t *out, size_t count, uint64_t key, uint64_t low, uint64_t high) noexcept nogil
