export type { ChecksumSource } from "./known-checksums.js";
export type { PullOptions, TransferProgress } from "./options.js";
export { pullModel } from "./pull.js";
export type { PulledFile, PulledModel } from "./pulled-model.js";
export { type VerifiedFile, type VerifiedModel, type VerifyOptions, verifyModel } from "./verify.js";
