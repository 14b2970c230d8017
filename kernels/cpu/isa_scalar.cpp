// Compiled for the target's baseline, without extra flags.
#define OSS_ISA scalar
#include "kernels/cpu/ops.inl"
