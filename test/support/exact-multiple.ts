import type { Ajv } from "ajv";

/**
 * Makes ajv's `multipleOf` exact: a number is a multiple when some decimal multiple parses to its double. Ajv divides
 * doubles: for 0.1 it refuses 3159310120.6, and with a tolerance it accepts numbers that are not multiples.
 */
export function withExactMultiples(ajv: Ajv): void {
  ajv.removeKeyword("multipleOf");
  ajv.addKeyword({
    keyword: "multipleOf",
    type: "number",
    schemaType: "number",
    compile: (step: number) => {
      const [, whole, fraction = "", exponent = "0"] = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(step))!;
      const digits = BigInt(whole! + fraction);
      const power = Number(exponent) - fraction.length;
      return (value: number) => Number(`${nearest(value, digits, power)}e${power}`) === value;
    },
  });
}

/** The multiple of `digits` for which multiple · 10^`power` is nearest to `value`. */
function nearest(value: number, digits: bigint, power: number): bigint {
  let numerator = Math.abs(value);
  let denominator = 1n;
  for (; !Number.isInteger(numerator); denominator *= 2n) numerator *= 2;
  const step = 2n * denominator * digits * 10n ** BigInt(Math.max(power, 0));
  const scaled = 2n * BigInt(numerator) * 10n ** BigInt(Math.max(-power, 0));
  const count = (scaled + step / 2n) / step;
  return BigInt(Math.sign(value)) * count * digits;
}
