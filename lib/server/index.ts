export { createServer, gptOssPlugin } from "./app.js";
export type { ServerContext } from "./context.js";
export { disconnectSignal } from "./http/disconnect.js";
export { ApiError } from "./http/errors.js";
export type { PriorityGrant, PriorityRange } from "./limits/priority.js";
export type { PluginOptions, ServerOptions } from "./options.js";
