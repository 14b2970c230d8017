#!/usr/bin/env node
// prebuildify calls `<node-gyp> rebuild --target=… --arch=…`; our build ignores these arguments. A published module
// runs on every GPU that has kernels.
process.argv.splice(2, Infinity, "--cuda-architectures", "release");
await import("./build.mjs");
