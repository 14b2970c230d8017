import { isIP, isIPv6 } from "node:net";

/**
 * Returns an address from a proxy without its port. Returns "unknown" for other text: the connection is gone, or a
 * client that bypassed the proxy invented the text.
 */
export function plainAddress(told: string | undefined): string {
  const [, bracketed, dotted] = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/.exec(told ?? "") ?? [];
  const address = bracketed ?? dotted ?? told ?? "";
  return isIP(address) === 0 ? "unknown" : address;
}

/**
 * The identity of a client without a key: an IPv4 address, or the /64 network of an IPv6 address. A client with one
 * address of such a network usually has all of them.
 */
export function clientAddress(told: string | undefined): string {
  const address = plainAddress(told);
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail = ""] = address.split("%", 1)[0]!.split("::", 2);
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const [first, last] = [groups(head), groups(tail)];
  // An IPv4 address at the end stands for two groups.
  const written = first.length + last.length + (address.includes(".") ? 1 : 0);
  const zeros = Array<string>(Math.max(0, 8 - written)).fill("0");
  const network = [...first, ...zeros, ...last].slice(0, 4);
  return `${network.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/64`;
}
