// The compiled kernels inside the library, between two symbols that metal_device.mm reads. They are constants of the
// text segment: signed with the addon, shared by processes, and kept by `strip`. kernels/metal/library.cmake says where
// the assembler finds the file.
#define SYMBOL(name) _##name
  .section __TEXT,__const
  .globl SYMBOL(oss_metal_library_begin)
  .globl SYMBOL(oss_metal_library_end)
  .private_extern SYMBOL(oss_metal_library_begin)
  .private_extern SYMBOL(oss_metal_library_end)
  .balign 16
SYMBOL(oss_metal_library_begin):
  .incbin "gpt_oss.metallib"
SYMBOL(oss_metal_library_end):
