// The best rates of the machine, and the cost of a step's bytes and launches without computing.
import { last } from "../process.mjs";
import { floorRow } from "../report.mjs";
import { program } from "../session.mjs";

const needs = (name) => program(name) ?? `${name} is not built`;

export const roofs = {
  name: "roofs",
  least: 5,
  most: 30,
  async run(session, seconds) {
    if (session.emulated) return;
    const row = (line) => ({ bench: "roofs", ...line });
    const said = await session.rows(needs("oss_gpu_roofs"), [], { seconds, row });
    session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
  },
};

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
