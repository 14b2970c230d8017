// Preloaded into Node processes of the vitest project "emulated CUDA": where the package asks for its addon, it gets the
// one beside which the CUDA module of the emulated GPU lies. The package itself knows nothing of it.
const Module = require("node:module");

const load = Module._extensions[".node"];
Module._extensions[".node"] = (module, file) =>
  load(module, file.replace(/([\\/]build[\\/])Release([\\/]gpt_oss\.node)$/, "$1Emulated$2"));
