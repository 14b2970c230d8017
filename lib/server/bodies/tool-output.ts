import { contentText } from "./content-parts.js";
import { isObject } from "./fields.js";
import type { InputWarnings } from "./input-warnings.js";

export const imageNote = "[an image, which cannot be shown here]";

const fileNote = "[a file, which cannot be shown here]";

/**
 * The model reads text only. A client does not choose what its tools return, so these parts become notes. Responses and
 * chats have other names for them.
 */
const notes: ReadonlyMap<unknown, string> = new Map([
  ["input_image", imageNote],
  ["image_url", imageNote],
  ["input_file", fileNote],
  ["file", fileNote],
  ["input_audio", "[a sound, which cannot be played here]"],
]);

/**
 * The text of a tool's output, with notes in the place of images, files and sounds.
 *
 * @throws ApiError that names the part
 */
export function outputText(output: unknown, at: string, warnings: InputWarnings): string {
  if (!Array.isArray(output)) return contentText(output, at);
  const parts = output.map((part: unknown, index) => {
    const note = isObject(part) ? notes.get(part.type) : undefined;
    if (note === undefined) return part;
    warnings.add(
      `${at}[${index}]`,
      "gpt-oss reads text only: an image, file or sound in a tool's output became a note",
    );
    return { type: "text", text: note };
  });
  return contentText(parts, at);
}
