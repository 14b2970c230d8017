type Environment = Readonly<Record<string, string | undefined>>;

/** Whether to print in colour: https://no-color.org, https://force-color.org, and terminals that cannot. */
export function hasColor(isTerminal: boolean, env: Environment): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== "0" && env.FORCE_COLOR !== "false";
  return isTerminal && env.TERM !== "dumb";
}
