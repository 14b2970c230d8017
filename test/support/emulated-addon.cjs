// Imported by tests that want a GPU: where the package asks for its addon, it gets the one that has the CUDA module for
// the emulated GPU beside it (test/emu). The package itself knows nothing of it.
const Module = require("node:module");

const load = Module._extensions[".node"];
Module._extensions[".node"] = (module, file) =>
  load(module, file.replace(/([\\/]build[\\/])Release([\\/]gpt_oss\.node)$/, "$1Emulated$2"));
