import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createLinter } from "actionlint";
import { describe, expect, it } from "vitest";

/** Workflows cannot run here: this finds what is wrong with them as texts. */

const folder = ".github/workflows";
const files = readdirSync(folder);
const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
const lint = await createLinter();
const problems = (text: string) =>
  lint(text, "workflow.yml")
    .filter(({ kind }) => kind !== "runner-label") // its list of GitHub's machines is older than ours
    .map(({ line, message }) => `${line}: ${message}`);

describe.each(files)("%s", (file) => {
  const text = readFileSync(path.join(folder, file), "utf8");

  it("has no error that actionlint finds", () => {
    expect(problems(text)).toEqual([]);
  });

  it("runs scripts that there are", () => {
    const named = [...text.matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, name]) => name!);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});

describe("actionlint", () => {
  it("finds an unknown key, an unknown job and an unknown value", () => {
    const steps = "\n    runs-on: ubuntu-latest\n    steps:\n      - ";
    expect(problems(`on: push\njobs:\n  a:${steps}runn: x\n`).join()).toContain('unexpected key "runn"');
    expect(problems(`on: push\njobs:\n  a:\n    needs: b${steps}run: x\n`).join()).toContain("needs job");
    expect(problems(`on: push\njobs:\n  a:${steps}run: echo \${{ matrix.nope }}\n`).join()).toContain(
      'property "nope"',
    );
  });
});

describe("release.yml", () => {
  const text = readFileSync(path.join(folder, "release.yml"), "utf8");
  const job = (name: string) => new RegExp(`^  ${name}:\\n(?:(?:    .*)?\\n)+`, "m").exec(text)?.[0] ?? "";

  it("publishes what was tried, for a tag only, and is the one job that may sign", () => {
    expect(job("publish")).toMatch(/if: github\.ref_type == 'tag'\n {4}needs: try\n/);
    expect(job("try")).toContain("needs: packages\n");
    expect(job("publish")).toContain("id-token: write");
    expect(text.match(/id-token: write/g)).toHaveLength(1);
    expect(text.replace(job("publish"), "")).not.toContain("publish.mjs");
  });

  it("builds the files of each platform, within the limits", () => {
    expect(job("linux")).toMatch(/platform: linux-x64\n[\s\S]*platform: linux-arm64\n[\s\S]*npm run package:check/);
    expect(job("macos")).toMatch(/package:prebuilds[\s\S]*test ! -s .*metal-absent\.txt[\s\S]*prebuilds-darwin-arm64/);
    expect(job("packages")).toContain("package:platforms -- --all --pack");
  });
});
