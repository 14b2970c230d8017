// The best rates of the machine, and the cost of a step's bytes and launches without computing.
import { last } from "../process.mjs";
import { floorRow } from "../report.mjs";
import { program } from "../session.mjs";

const needs = (name) => program(name) ?? `${name} is not built`;

/** @param machine the emulated machine, if the session's own does not do */
export const roofsOf = (machine) => ({
  name: "roofs",
  least: 5,
  most: 30,
  async run(session, seconds) {
    const few = session.emulated ? ["--cold-bytes", "1", "--seconds", "0"] : [];
    const said = await session.rows(process.execPath, ["bench/gpu/roofs.mjs", session.backend, ...few], {
      ...{ seconds, env: session.device(machine), row: (line) => ({ bench: "roofs", ...line }) },
    });
    session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : `FAIL ${last(said.text, 10)}`);
  },
});
export const roofs = roofsOf();

export const floor = {
  name: "floor",
  least: 5,
  most: 40,
  async run(session, seconds) {
    if (session.emulated) return;
    const row = (line) => floorRow(line, session.results.roofs);
    const said = await session.rows(needs("oss_gpu_floor"), [], { seconds, row });
    session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
  },
};
