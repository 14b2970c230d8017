import type { FastifyRequest } from "fastify";
import type { CheckedPluginOptions } from "../options.js";
import { ApiKeys } from "./api-keys.js";
import { clientAddress } from "./client-address.js";
import { setTenant } from "./tenant.js";
import { Tenants } from "./tenants.js";
import { WrongKeys } from "./wrong-keys.js";

/** Finds the tenant of a request, and refuses requests without a valid key where there are keys. */
export class Gate {
  /** Null: no key is needed. */
  readonly #keys: ApiKeys | null;
  readonly #wrong: WrongKeys;
  readonly #tenants: Tenants;

  /** @throws GptOssError INVALID_ARGUMENT when the keys are not usable */
  constructor(
    options: Pick<CheckedPluginOptions, "apiKeys" | "clock" | "sharePrefixes" | "reasoningKeys">,
    tenants = new Tenants(options),
  ) {
    this.#keys = options.apiKeys ? new ApiKeys(options.apiKeys) : null;
    this.#wrong = new WrongKeys(options.clock);
    this.#tenants = tenants;
  }

  /**
   * Gives the request its tenant. Returns the name for limits: a key's name, or an address where there are no keys.
   *
   * @throws ApiError 401, or 429 after too many wrong keys from one address
   */
  admit(request: FastifyRequest): string {
    const key = this.identify(request);
    setTenant(request, key === null ? this.#tenants.everybody : this.#tenants.of(key));
    return key ?? clientAddress(request.ip);
  }

  /** Returns the name of the key; null where there are no keys. @throws as `admit` does */
  identify({ headers, ip }: FastifyRequest): string | null {
    if (this.#keys === null) return null;
    const name = this.#keys.identify(headers.authorization);
    // A valid key is never refused for wrong ones: several clients may share one proxy.
    if (name === null) throw this.#wrong.refusal(clientAddress(ip));
    return name;
  }

  /**
   * Reads the key file again and returns the number of keys. A removed key loses everything that it owned.
   *
   * @throws GptOssError INVALID_ARGUMENT when the file is not usable; everything stays unchanged then
   */
  reload(): number {
    if (this.#keys === null) return 0;
    const count = this.#keys.reload();
    this.#tenants.keepOnly(this.#keys.names);
    return count;
  }
}
