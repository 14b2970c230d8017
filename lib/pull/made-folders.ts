import { access, constants, rmdir } from "node:fs/promises";
import { makeFolder } from "../common/make-folder.js";
import { GptOssError } from "../errors.js";

/** The folders that a download makes, so that one that brings nothing leaves none behind. */
export class MadeFolders {
  readonly #made: string[] = [];

  /**
   * Makes a folder, and those around it.
   *
   * @param field the option that named the folder
   * @throws GptOssError INVALID_ARGUMENT for a folder that cannot be made or written
   */
  async make(folder: string, field?: string): Promise<void> {
    try {
      this.#made.push(...(await makeFolder(folder)));
      await access(folder, constants.W_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const remedy =
        field === undefined ? "set HF_HUB_CACHE, or name a folder with dir (--dir)" : "name another folder";
      const message = `The folder ${folder} cannot be made or written (${code}); ${remedy}`;
      throw new GptOssError("INVALID_ARGUMENT", message, { cause: error, field });
    }
  }

  /** Removes those of them that are empty. */
  async removeEmpty(): Promise<void> {
    for (const folder of this.#made.splice(0).reverse()) await rmdir(folder).catch(() => {}); // it has something in it
  }
}
