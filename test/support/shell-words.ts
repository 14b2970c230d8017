/**
 * The commands of a shell text, each as a list of words. Handles quotes, comments and continued lines, and leaves out
 * assignments before a command.
 */
export function shellCommands(text: string): string[][] {
  const commands: string[][] = [[]];
  const word = /"((?:[^"\\]|\\.)*)"|'([^']*)'|(#.*$)|(\|\|?|&&?|;|>>?|<|\n)|((?:[^\s"'#|&;<>]|(?<=\S)#)+)/gm;
  let end = -1;
  for (const match of text.replace(/\\\n/g, " ").matchAll(word)) {
    const [all, double, single, comment, separator, bare] = match;
    const command = commands.at(-1)!;
    if (comment !== undefined) continue;
    if (separator !== undefined) commands.push([]);
    // Without a blank between, it belongs to the same word: --a="b".
    else if (match.index === end) command.push((command.pop() ?? "") + (double ?? single ?? bare ?? ""));
    else command.push(double ?? single ?? bare ?? "");
    end = separator === undefined ? match.index + all.length : -1;
  }
  return commands
    .map((words) => {
      const first = words.findIndex((one) => !/^(\w+=.*|sudo|nice|npx|\$)$/.test(one));
      return first < 0 ? [] : words.slice(first);
    })
    .filter((words) => words.length > 0);
}
