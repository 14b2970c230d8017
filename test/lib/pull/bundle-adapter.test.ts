import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { makeBundle } from "../../../lib/pull/bundle.js";
import { failure } from "../../support/failure.js";
import { large, setting } from "../../support/pull.js";

/** A bundle answers by itself, so it is not made of an adapter. */

const here = setting();

describe("the bundle of an adapter", () => {
  it("is refused before anything is fetched, with what to do", async () => {
    here.hub.add("me/lora", {
      "README.md": "# an adapter",
      "adapter_config.json": "{}",
      "adapter_model.safetensors": large(9000, 1),
    });
    const bundle = path.join(here.folder, "made");
    expect(await failure(makeBundle(bundle, { repository: "me/lora" }, here.machine))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "bundle",
      message:
        "me/lora is an adapter, and a bundle needs a model; make the bundle of the model that it was trained on, " +
        'carry the folder of "gpt-oss pull me/lora --dir FOLDER" beside it, and name that folder with --adapter',
    });
    expect(here.hub.seen.filter(({ url }) => url.includes("/resolve/"))).toEqual([]);
    expect(readdirSync(here.folder)).toEqual([]);
    const { files } = await here.pull({ repository: "me/lora", dir: path.join(here.folder, "lora") });
    expect(files).toHaveLength(3);
  });
});
