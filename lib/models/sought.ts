import { type GptOssError, invalidArgument } from "../errors.js";
import { oneOf } from "./model-files.js";
import { matchingRepositories, type RepositoryName, releasedName } from "./names.js";
import type { Located } from "./types.js";

/** The outcome of a search in one place. */
export type Sought =
  | { found: Located }
  /** The place does not have it; the words say why. */
  | { absent: string }
  /** The place has a part of it. Another place can have the whole. */
  | { incomplete: GptOssError };

/** Usual words of `absent`. */
export const noSuchModel = "no model of this name";
export const noSuchFolder = "no such folder";

/** A repository of a place, looked at on demand. */
export interface Candidate {
  repository: string;
  open(): Promise<Sought>;
}

/**
 * The model that a name means among the repositories of a place: the released one, or the only whole one.
 *
 * @param isCut the place has more repositories than were listed
 * @throws GptOssError INVALID_ARGUMENT where several fit
 */
export async function firstWhole(
  candidates: readonly Candidate[],
  wanted: RepositoryName,
  isCut: boolean,
): Promise<Sought> {
  const released = releasedName(wanted.name);
  const whole: { repository: string; found: Located }[] = [];
  let incomplete: GptOssError | undefined;
  const names = matchingRepositories(
    wanted,
    candidates.map(({ repository }) => repository),
  );
  for (const name of names) {
    const sought = await candidates.find(({ repository }) => repository === name)!.open();
    if ("incomplete" in sought) incomplete ??= sought.incomplete;
    if (!("found" in sought)) continue;
    if (name.toLowerCase() === `openai/${released}`) return sought;
    whole.push({ repository: name, found: sought.found });
  }
  if (whole.length > 1) {
    const typed = wanted.owner === null ? wanted.name : `${wanted.owner}/${wanted.name}`;
    const choices = whole.map(({ repository }) => repository);
    throw invalidArgument("the model", oneOf(choices), typed, "model");
  }
  if (whole[0] !== undefined) return { found: whole[0].found };
  if (incomplete !== undefined) return { incomplete };
  return { absent: isCut ? "no such model among its first entries, and it has too many" : noSuchModel };
}
