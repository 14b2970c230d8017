// npm run third-party: rewrites the table of npm packages in THIRD_PARTY.md from the lock file and node_modules. It
// lists each package that npm installs with this one, with licence and copyright. `--check` only checks whether the
// file is up to date.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const file = path.join(root, "THIRD_PARTY.md");
const [begin, end] = ["<!-- npm run third-party: begin -->", "<!-- npm run third-party: end -->"];

const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8"));
const rows = new Set();
for (const [folder, { dev }] of Object.entries(lock.packages)) {
  if (folder !== "" && !dev) rows.add(row(path.join(root, folder)));
}

/** The copyright holder comes from the licence files, or from the author in package.json. */
function row(folder) {
  const { name, version, license, author } = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
  if (typeof license !== "string")
    throw new Error(`${name} names no licence: look what it is, and whether we may ship it`);
  const notices = readdirSync(folder)
    .filter((entry) => /^(licen[cs]e|copying|notice)/i.test(entry))
    .sort()
    .flatMap((entry) => readFileSync(path.join(folder, entry), "utf8").split("\n"))
    .filter((line) => /^\s*Copyright (?!\[|notice|holder|license|in )/i.test(line))
    .map((line) => plain(line.replace(/^\s*Copyright\s*(\(c\))?,?\s*/i, "")));
  const holders = notices.length > 0 ? [...new Set(notices)].join("; ") : plain(author?.name ?? author ?? "");
  return `| ${name} | ${version} | ${license} | ${holders || "its contributors"} |`;
}

/** Removes links and characters that break a table cell. */
function plain(text) {
  return text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[<(]?https?:\/\/[^\s>)]+[>)]?/g, "")
    .replace(/\|/g, "/")
    .replace(/\s+/g, " ")
    .replace(/ (in|at|until) (?=$|;|and )/g, " ")
    .trim();
}

const table = ["| package | version | licence | copyright |", "| --- | --- | --- | --- |", ...[...rows].sort()].join(
  "\n",
);
const before = readFileSync(file, "utf8");
const [head, rest] = before.split(begin);
const after = `${head}${begin}\n${table}\n${end}${rest.split(end)[1]}`;
if (!process.argv.includes("--check")) writeFileSync(file, after);
else if (before !== after) {
  console.error("THIRD_PARTY.md is out of date: npm run third-party");
  process.exit(1);
}
