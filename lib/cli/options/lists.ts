import { InvalidArgumentError } from "commander";

/** Lists of values: each is measured once, however often it is named. */

/** `1,4,8`: integers of 1 and more. */
export function counts(text: string): number[] {
  return countsTo(Number.MAX_SAFE_INTEGER)(text);
}

/** `1,4,8`: integers in [1, most]. */
export function countsTo(most: number): (text: string) => number[] {
  return (text) =>
    distinct(text, (part) => {
      const value = Number(part);
      if (!/^\s*\d+\s*$/.test(part) || !Number.isSafeInteger(value) || value < 1)
        throw new InvalidArgumentError("Expected integers such as 1,4,8.");
      if (value > most) throw new InvalidArgumentError(`Expected integers in [1, ${most}].`);
      return value;
    });
}

/** `0.5,2`: numbers above 0. */
export function rates(text: string): number[] {
  return distinct(text, (part) => {
    const value = Number(part);
    if (part.trim() === "" || !Number.isFinite(value) || value <= 0)
      throw new InvalidArgumentError("Expected numbers such as 0.5,2.");
    return value;
  });
}

function distinct(text: string, read: (part: string) => number): number[] {
  return [...new Set(text.split(",").map(read))];
}

/** `a,b`: names without spaces around them. */
export function names(text: string): string[] {
  const found = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (found.length === 0) throw new InvalidArgumentError("Expected names such as a,b.");
  return found;
}
