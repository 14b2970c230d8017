export { createServer, gptOssPlugin } from "./app.js";
export type { ServerContext } from "./context.js";
export { disconnectSignal } from "./disconnect.js";
export { ApiError } from "./errors.js";
export type { PluginOptions, ServerOptions } from "./options.js";
export type { PriorityGrant, PriorityRange } from "./priority.js";
