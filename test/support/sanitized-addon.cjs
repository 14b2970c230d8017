// Preloaded by test/commands/sanitize.mjs into every Node process of a run: where the package asks for its addon, it gets the one
// built with sanitizers. The package itself knows nothing of it.
const Module = require("node:module");

const load = Module._extensions[".node"];
Module._extensions[".node"] = (module, file) =>
  load(module, file.replace(/([\\/]build[\\/])Release([\\/]gpt_oss\.node)$/, "$1Sanitize$2"));
