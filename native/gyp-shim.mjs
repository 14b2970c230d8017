#!/usr/bin/env node
// prebuildify calls `<node-gyp> rebuild --target=… --arch=…`; our build takes none of it. What is published runs on every
// GPU that there are kernels for.
process.argv.splice(2, Infinity, "--cuda-architectures", "release");
await import("./build.mjs");
