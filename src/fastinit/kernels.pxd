"""What other Cython code may use: `from fastinit.kernels cimport philox4x32`."""

from fastinit._kernels cimport philox4x32
