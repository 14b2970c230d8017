// Imported by tests that need a GPU: the package then loads the addon that has the CUDA module for the emulated GPU
// beside it (test/emu). The package itself does not change.
const Module = require("node:module");

const load = Module._extensions[".node"];
Module._extensions[".node"] = (module, file) =>
  load(module, file.replace(/([\\/]build[\\/])Release([\\/]gpt_oss\.node)$/, "$1Emulated$2"));
