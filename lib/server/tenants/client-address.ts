import { isIP, isIPv6 } from "node:net";

/**
 * An address as a proxy may tell it, without a port. "unknown" for what is none: a connection that is gone, or text that a
 * client made up where it could pass the proxy by.
 */
export function plainAddress(told: string | undefined): string {
  const [, bracketed, dotted] = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/.exec(told ?? "") ?? [];
  const address = bracketed ?? dotted ?? told ?? "";
  return isIP(address) === 0 ? "unknown" : address;
}

/**
 * What counts as one client without a key: an IPv4 address, or the /64 network of an IPv6 address, for whoever has one
 * address of it has them all.
 */
export function clientAddress(told: string | undefined): string {
  const address = plainAddress(told);
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail = ""] = address.split("%", 1)[0]!.split("::", 2);
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const [first, last] = [groups(head), groups(tail)];
  // An IPv4 address at the end takes the place of two groups.
  const written = first.length + last.length + (address.includes(".") ? 1 : 0);
  const zeros = Array<string>(Math.max(0, 8 - written)).fill("0");
  const network = [...first, ...zeros, ...last].slice(0, 4);
  return `${network.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/64`;
}
