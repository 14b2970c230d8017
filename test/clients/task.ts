import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What a client is asked to do: to change one line of one file in a repository of its own. */

export const fileName = "notes.txt";
/** Quotes, a backslash, a tab and characters outside ASCII must reach the file as the model wrote them. */
export const newLine = `zwölf "twelve" \\ '十二'\t🙂`;
const oldLine = "two";
const before = `one\n${oldLine}\nthree\n`;
export const after = `one\n${newLine}\nthree\n`;

/** Stands in the prompt of the agent, and not in those that a client writes for itself, such as one for a title. */
export const question = `Replace the second line of ${fileName}. The colour of the day is mauve.`;
/** No terminal breaks so short a line. */
export const answer = "The second line is new.";

/** The edit in the ways that clients offer. */
export const edit = {
  oldLine,
  patch: `*** Begin Patch\n*** Update File: ${fileName}\n@@\n one\n-${oldLine}\n+${newLine}\n three\n*** End Patch\n`,
};

/** Makes the repository, with one commit. */
export function makeRepository(folder: string): void {
  mkdirSync(folder);
  writeFileSync(path.join(folder, fileName), before);
  git(folder, "init", "--quiet", "--initial-branch=main");
  git(folder, "add", fileName);
  git(folder, "commit", "--quiet", "--message=notes");
}

/** What is wrong with the repository after the edit. */
export function wrongWith(folder: string): string[] {
  const file = path.join(folder, fileName);
  const text = existsSync(file) ? readFileSync(file, "utf8") : null;
  const changed = git(folder, "status", "--porcelain");
  return [
    ...(text === after ? [] : [`${fileName} has ${JSON.stringify(text)}`]),
    ...(changed === ` M ${fileName}\n` ? [] : [`git status says ${JSON.stringify(changed)}`]),
  ];
}

function git(folder: string, ...args: string[]): string {
  const identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false"];
  return execFileSync("git", [...identity, ...args], { cwd: folder, encoding: "utf8" });
}
