/** The contents of o200k_base.bin, packed from the official ranks. */
export function packVocabulary(): Buffer;
