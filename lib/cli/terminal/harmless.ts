/**
 * Text that a terminal only shows: control characters other than newline and tab become their pictures
 * (ESC is ␛), and a carriage return, which could overwrite what was printed, is left out.
 */
export function harmless(text: string): string {
  return text.replace(control, (character) => {
    const code = character.charCodeAt(0);
    if (code === 0x0d) return "";
    if (code === 0x7f) return "\u2421";
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd";
  });
}

const control = /(?![\n\t])\p{Cc}/gu;
