// o200k_base.bin inside the library, between two symbols that vocabulary.cpp reads. Assembled with -I<repository root>.
#if defined(__APPLE__)
#define SYMBOL(name) _##name
#define HIDDEN .private_extern
  .section __TEXT,__const
#else
#define SYMBOL(name) name
#define HIDDEN .hidden
  .section .rodata
#endif

  .globl SYMBOL(oss_vocabulary_begin)
  .globl SYMBOL(oss_vocabulary_end)
  HIDDEN SYMBOL(oss_vocabulary_begin)
  HIDDEN SYMBOL(oss_vocabulary_end)
  .balign 16
SYMBOL(oss_vocabulary_begin):
  .incbin "native/tokenizer/o200k_base.bin"
SYMBOL(oss_vocabulary_end):

#if defined(__ELF__)
  .section .note.GNU-stack, "", %progbits
#endif
