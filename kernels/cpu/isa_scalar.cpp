// Whatever the target's baseline is: no flags of its own.
#define OSS_ISA scalar
#include "kernels/cpu/ops.inl"
