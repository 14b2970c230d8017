import path from "node:path";
import { modelPlaces } from "../models/index.js";
import { planModel } from "../plan/index.js";
import { bytesOnDisk, freeBytes, refuseTooLarge } from "../pull/disk-space.js";
import { type KnownModel, knownRepository } from "../pull/known-models.js";
import { cachedName } from "../pull/place.js";
import { bytesText } from "./output.js";
import { nearestMisfit } from "./plan-text.js";

/** What a person should know before a model is downloaded. */
export interface Offer {
  known: KnownModel;
  /** The Hugging Face cache. */
  folder: string;
  freeBytes: number;
  /** Bytes of the model that are there from earlier downloads. */
  storedBytes: number;
  /** Why it does not fit in the memory of this machine; null: it does. */
  misfit: string | null;
}

/** @returns null where the size of the model is not known, so that nothing can be offered */
export async function offerOf(repository: string): Promise<Offer | null> {
  const known = knownRepository(repository);
  const { huggingFace: folder } = await modelPlaces();
  if (known === null || folder === null) return null;
  const plan = await planModel(repository);
  return {
    known,
    folder,
    freeBytes: await freeBytes(folder),
    storedBytes: await bytesOnDisk(path.join(folder, cachedName(repository))),
    misfit: plan.fits ? null : nearestMisfit(plan),
  };
}

/** What is said of the model, and of the memory that it needs. */
export function offerLines({ known, misfit }: Offer): string[] {
  const { repository, parameters, downloadBytes, memory } = known;
  const size = `${parameters}, ${bytesText(downloadBytes)} to download; ${memory}`;
  const line = `${repository} is not on this machine, or not complete: ${size}.`;
  if (misfit === null) return [line];
  return [
    line,
    `It does not fit in the memory of this machine: ${misfit}. "gpt-oss plan ${repository}" says what helps.`,
  ];
}

/** The question. @throws GptOssError RESOURCE_LIMIT where the disk has no room: then there is nothing to ask */
export function offerQuestion({ known, folder, freeBytes: free, storedBytes }: Offer): string {
  refuseTooLarge(Math.max(0, known.downloadBytes - storedBytes), free, folder);
  return `Download it to ${folder}, where ${bytesText(free)} are free? [y/N] `;
}
