// Preloaded by test/commands/sanitize.mjs into every Node process of a run: the package then loads the addon that was
// built with sanitizers. The package itself does not change.
const Module = require("node:module");

const load = Module._extensions[".node"];
Module._extensions[".node"] = (module, file) =>
  load(module, file.replace(/([\\/]build[\\/])Release([\\/]gpt_oss\.node)$/, "$1Sanitize$2"));
