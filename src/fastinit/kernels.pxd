"""What other Cython code may use: `from fastinit.kernels cimport fill_range, philox4x32`; _kernels.pxd describes it."""

from fastinit._kernels cimport (
    BFLOAT16,
    CONSTANT,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    NORMAL,
    TRUNCATED_NORMAL,
    UNIFORM,
    fill_range,
    philox4x32,
)
