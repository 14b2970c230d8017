import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import type { Run } from "./clients.js";
import { runClient } from "./run-client.js";
import { question } from "./task.js";

/** What a run finds wrong with a client that makes one mistake. */

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-fake-client-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = path.join(folder, "packages/node_modules/.bin");
mkdirSync(programs, { recursive: true });
const script = path.join(import.meta.dirname, "fake-client.mjs");
writeFileSync(path.join(programs, "fake"), `#!/bin/sh\nexec "${process.execPath}" "${script}" "$@"\n`, { mode: 0o755 });

const run = (fault: string): Run => ({
  name: fault,
  client: "fake",
  api: "chat completions",
  steps: ["read", "edit"],
  calls: ["view", "apply_patch"],
  kinds: ["function"],
  carries: "reasoning_content",
  start: ({ baseUrl }) => ({ commands: [["fake", baseUrl, question, fault]], env: {} }),
});

it.each([
  ["nothing", []],
  ["wrong bytes", [/^notes\.txt has "one\\nzwolf /]],
  ["another file", [/^git status says " M notes\.txt\\n\?\? other\.txt\\n"$/]],
  ["no answer", [/^the answer of the model is not on stdout$/]],
  ["exit code", [/^fake ended with 3: $/]],
  ["another API", [/^of another API: POST \/v1\/completions 200,/]],
  ["a refusal", [/^refused: POST \/v1\/chat\/completions 400,/]],
  [
    "no reasoning",
    [
      /^prompt 2 lacks the reasoning of the step read$/,
      /^prompt 3 lacks the reasoning of the step read$/,
      /^prompt 3 lacks the reasoning of the step edit$/,
      /^the client sent no reasoning_content$/,
    ],
  ],
  [
    "no tool",
    [
      /^the answer of the model is not on stdout$/,
      /^no tool for the step edit among view$/,
      /^notes\.txt has "one\\ntwo\\n/,
      /^git status says ""$/,
      /^expected the calls view, apply_patch but the model made view$/,
      /^2 prompts for 3 turns$/,
    ],
  ],
])("a run names what is wrong: %s", async (fault, expected) => {
  const place = path.join(folder, fault.replaceAll(" ", "-"));
  const { wrong } = await runClient(run(fault), path.join(folder, "packages"), place);
  expect(wrong).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
});

it("a run names tools that a client should have sent", async () => {
  const asked: Run = { ...run("nothing"), kinds: ["function", "namespace"] };
  const { wrong } = await runClient(asked, path.join(folder, "packages"), path.join(folder, "kinds"));
  expect(wrong).toEqual(["the client sent no tool of the kind namespace"]);
});
