/** No repository of the hub has a longer name, and few paths are longer. */
const mostCharacters = 400;

/** A text for a message, cut where it is too long to be read. */
export function shortened(text: string, most = mostCharacters): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
