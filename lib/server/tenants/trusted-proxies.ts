import { BlockList, isIP } from "node:net";
import { invalidArgument } from "../../errors.js";

/**
 * Whether the address may name its caller in `x-forwarded-for`; `hop`: 0 is the connection's peer, 1 the one before it,
 * and so on.
 */
export type IsTrusted = (address: string | undefined, hop: number) => boolean;

/** More proxies in a row are a mistake. */
const mostHops = 16;

/**
 * Reads `trustProxy`. A number counts the proxies in front; each adds its caller's address to `x-forwarded-for`. A list
 * holds the proxies' addresses and networks. `true` is one proxy, false none. The command line passes a text.
 *
 * @throws GptOssError INVALID_ARGUMENT
 */
export function trustedProxies(value: unknown): IsTrusted | false {
  if (value === false || value === 0) return false;
  const hops = value === true ? 1 : value;
  if (typeof hops === "number" && Number.isInteger(hops) && hops > 0 && hops <= mostHops) {
    return (_, hop) => hop < hops;
  }
  const networks = typeof hops === "string" ? hops.split(",").map((part) => part.trim()) : hops;
  if (!Array.isArray(networks) || networks.length === 0) throw refusal(value);
  const list = new BlockList();
  for (const network of networks) if (!add(list, network)) throw refusal(network);
  return (address = "") => {
    const family = isIP(address);
    return family !== 0 && list.check(address.split("%", 1)[0]!, family === 4 ? "ipv4" : "ipv6");
  };
}

function add(list: BlockList, network: unknown): boolean {
  if (typeof network !== "string") return false;
  const [, address = "", prefix] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  if (family === 0 || Number(prefix ?? bits) > bits) return false;
  list.addSubnet(address, Number(prefix ?? bits), family === 4 ? "ipv4" : "ipv6");
  return true;
}

function refusal(value: unknown) {
  return invalidArgument(
    "trustProxy",
    `a number of proxies up to ${mostHops}, or addresses and networks such as "10.0.0.0/8"`,
    value,
  );
}
