export { GptOssError } from "../errors.js";
export type { TextStream } from "./text-stream.js";
export { type EncodeAsyncOptions, type EncodeOptions, type Tokenizer, tokenizer } from "./tokenizer.js";
