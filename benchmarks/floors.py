"""The least ratios of speed that we want to see, ours over the contestant's, and what we aim at where that is more.

Written for two cores. A ratio below its floor is marked in the table; nothing fails, since these machines are shared.
"""

#: (subject, job, contestant) -> (floor, aim)
FLOORS = {
    ("fills", "uniform float32", "constant fill"): (0.5, 0.7),
    ("fills", "uniform float32", "Randompack"): (0.9, None),
    ("fills", "uniform float32", "torch"): (11, None),
    ("fills", "normal float32", "constant fill"): (0.25, 0.4),
    ("fills", "normal float32", "Randompack"): (2.5, None),
    ("fills", "normal float32", "torch"): (9, None),
    ("fills", "normal float32", "NumPy SFC64"): (12, None),
    ("fills", "truncated ±2 float32", "torch"): (150, None),
    ("fills", "truncated ±3 float32", "torch"): (25, None),
    ("fills", "truncated [4, 6] float32", "torch"): (25, None),
    ("fills", "normal bfloat16", "torch"): (12, None),
    ("threads", "normal, 2 threads", "1 thread"): (1.7, None),
    ("threads", "uniform, 2 threads", "1 thread"): (1.7, None),
    ("threads", "normal in cache, 2 threads", "1 thread"): (1.7, None),
    ("threads", "uniform in cache, 2 threads", "1 thread"): (1.7, None),
    ("sizes", "16 elements", "NumPy SFC64"): (0.1, None),
    ("sizes", "16 elements by fi.normal", "NumPy SFC64"): (0.1, None),
    ("orthogonal", "1024 x 1024", "torch"): (3.5, 5),
    ("orthogonal", "2048 x 2048", "torch"): (2.4, 3.3),
    ("orthogonal", "4096 x 4096", "torch"): (2.2, 3),
    ("orthogonal", "65536 x 512", "torch"): (5, 7),
    **{
        ("orthogonal", f"{shape} by {count} threads", "2 threads"): (0.77, 1)
        for shape in ("1024 x 1024", "4096 x 4096", "65536 x 512")
        for count in (3, 4, 6, 8, 16)
    },
    ("orthogonal", "4096 x 4096 against products", "our product"): (None, 0.8),
    ("orthogonal", "product of 4096 x 4096", "SciPy sgemm"): (0.8, 0.95),
    ("composed", "64 KiB pieces", "one run"): (0.9, None),
    ("composed", "64 KiB pieces, grouped queries", "one run"): (0.9, None),
    ("composed", "64 KiB rows of three", "one run"): (0.9, None),
    ("composed", "64 KiB tensors, stacked", "one run"): (0.9, None),
    ("composed", "1 MiB tensors, stacked", "one run"): (0.9, None),
    ("composed", "16-byte pieces", "one run"): (0.3, None),
    ("composed", "transposed", "strided"): (0.9, 1),
    ("layouts", "Fortran order", "one run"): (0.5, None),
    ("layouts", "every second column", "one run"): (0.5, 0.8),
    ("layouts", "every second column", "constants, same layout"): (0.75, None),
    ("layouts", "backwards", "one run"): (0.8, None),
    ("layouts", "rows of 100 of 128", "one run"): (0.7, None),
    ("layouts", "gathered rows, 128 columns", "one run"): (0.7, None),
    ("layouts", "gathered rows, 32 columns", "one run"): (0.35, None),
    ("checkpoint", "4 GiB to memory", "constants, the same way"): (0.7, None),
    ("checkpoint", "4 GiB to disk", "constants, the same way"): (0.7, None),
    ("checkpoint", "4 GiB to memory", "NumPy, save_file"): (8, None),
    ("checkpoint", "4 GiB to disk", "NumPy, save_file"): (8, None),
    ("construction", "Llama, 1,100,048,384 parameters", "torch"): (4, 10),
    ("recording", "Llama", "meta"): (0.67, 1),
    ("recording", "Mixtral", "meta"): (0.67, 1),
    ("recording", "BERT", "meta"): (0.67, 1),
    ("recording", "2000 x Linear(8, 8)", "meta"): (0.67, 1),
    ("many_tensors", "verify 50,000 tensors", "load_file, compare"): (0.3, None),
    ("many_tensors", "write 2,000 shards", "save_file, synced"): (1, None),
}
