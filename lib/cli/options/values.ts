import { InvalidArgumentError } from "commander";

/** Commander calls these for the value of an option. Their errors are wrong usage. */

export function integer(text: string): number {
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected an integer.");
  return Number(text);
}

/** Integers of `least` and more. */
export function integerFrom(least: number): (text: string) => number {
  return (text) => {
    const value = integer(text);
    if (value < least) throw new InvalidArgumentError(`Expected an integer >= ${least}.`);
    return value;
  };
}

/** Integers in [least, most]. */
export function integerIn(least: number, most: number): (text: string) => number {
  return (text) => within(integer(text), "an integer", least, most);
}

export function decimal(text: string): number {
  if (text.trim() === "" || !Number.isFinite(Number(text))) throw new InvalidArgumentError("Expected a number.");
  return Number(text);
}

/** Numbers in [least, most]. */
export function decimalIn(least: number, most: number): (text: string) => number {
  return (text) => within(decimal(text), "a number", least, most);
}

function within(value: number, what: string, least: number, most: number): number {
  if (value < least || value > most) throw new InvalidArgumentError(`Expected ${what} in [${least}, ${most}].`);
  return value;
}

/** `1,2,3` or the same with spaces. */
export function tokenIds(text: string): number[] {
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  if (parts.length === 0) throw new InvalidArgumentError("Expected token ids such as 1,2,3.");
  return parts.map((part) => {
    if (!/^\d+$/.test(part)) throw new InvalidArgumentError(`Expected token ids such as 1,2,3; "${part}" is not one.`);
    return Number(part);
  });
}

/** An option that may be given several times. */
export function repeated(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
