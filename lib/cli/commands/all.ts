import type { Command } from "commander";
import { benchCommand } from "./bench.js";
import { chatCommand } from "./chat.js";
import { doctorCommand } from "./doctor.js";
import { generateCommand } from "./generate.js";
import { inspectCommand } from "./inspect.js";
import { modelsCommand } from "./models.js";
import { planCommand } from "./plan.js";
import { pullCommand } from "./pull.js";
import { serveCommand } from "./serve.js";
import { verifyCommand } from "./verify.js";

/** Each command of the program, new at every call, in the order of its help: what answers comes first. */
export const allCommands = (): Command[] => [
  ...[chatCommand(), generateCommand(), serveCommand()],
  ...[inspectCommand(), modelsCommand(), planCommand(), doctorCommand(), pullCommand(), verifyCommand()],
  benchCommand(),
];
