// Applies a patch in the unified format to texts. It is stricter than `patch`: the lines of a hunk must be in the file
// exactly once, at any place. So a patch that no longer fits its source is an error.

/** [{ file, hunks: [{ from, to }] }] of a patch; `from` and `to` are texts of whole lines. */
function filesOf(patch) {
  const files = [];
  for (const line of patch.split("\n")) {
    const [, file] = /^\+\+\+ b\/(\S+)/.exec(line) ?? [];
    if (file) files.push({ file, hunks: [] });
    else if (line.startsWith("@@ ")) files.at(-1).hunks.push({ from: "", to: "" });
    else if (/^[ +-]/.test(line) && !line.startsWith("--- ")) {
      const hunk = files.at(-1).hunks.at(-1);
      const text = `${line.slice(1)}\n`;
      if (line[0] !== "+") hunk.from += text;
      if (line[0] !== "-") hunk.to += text;
    } else if (line !== "" && !line.startsWith("--- ")) throw new Error(`a patch has the line: ${line}`);
  }
  return files;
}

/** Where whole lines of a text are these lines. */
function placesOf(text, lines) {
  const places = [];
  for (let at = text.indexOf(lines); at >= 0; at = text.indexOf(lines, at + 1))
    if (at === 0 || text[at - 1] === "\n") places.push(at);
  return places;
}

/**
 * The files that a patch changes, as the patch makes them.
 *
 * @param patch the text of the patch
 * @param read gives a file's text as it is
 * @returns Map of path to text
 */
export function patched(patch, read) {
  const texts = new Map();
  for (const { file, hunks } of filesOf(patch)) {
    let text = texts.get(file) ?? read(file);
    for (const { from, to } of hunks) {
      const places = placesOf(text, from);
      if (places.length !== 1) throw new Error(`${file} has ${places.length} times:\n${from}`);
      text = text.slice(0, places[0]) + to + text.slice(places[0] + from.length);
    }
    texts.set(file, text);
  }
  if (texts.size === 0) throw new Error("the patch changes no file");
  return texts;
}
