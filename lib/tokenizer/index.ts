export { GptOssError } from "../errors.js";
export type { TextStream } from "./text-stream.js";
export { type EncodeOptions, type Tokenizer, tokenizer } from "./tokenizer.js";
