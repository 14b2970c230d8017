#!/usr/bin/env node
// prebuildify calls `<node-gyp> rebuild --target=… --arch=…`; our build takes none of it.
await import("./build.mjs");
