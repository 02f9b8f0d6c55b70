/* nvrtc/stddef.h - empty: NVRTC knows size_t and NULL by itself. */
