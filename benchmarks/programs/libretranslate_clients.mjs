// Call a server with a published client of LibreTranslate, and print what the client returns as JSON.
//
//     node libretranslate_clients.mjs translate http://127.0.0.1:5000
//
// It runs in a folder that has the clients in node_modules.

import { createRequire } from "node:module";
import { join } from "node:path";
import { cwd } from "node:process";
import { pathToFileURL } from "node:url";

const TEXT = "Where is the station?";
const [name, url] = process.argv.slice(2);
const client = await import(pathToFileURL(createRequire(join(cwd(), "here.js")).resolve(name)));

async function useTranslate() {
  const translate = client.default;
  Object.assign(translate, { engine: "libre", url: `${url}/translate`, from: "en" });
  return {
    translate: await translate(TEXT, "de"),
    "translate, names of languages": await translate("The cat sleeps.", { from: "english", to: "german" }),
  };
}

async function useLibretranslate() {
  return {
    translate: await client.translate({ query: TEXT, source: "en", target: "de", apiurl: url }),
    "translate, source auto, key": await client.translate({ query: TEXT, target: "de", apiurl: url, apiKey: "any" }),
  };
}

const clients = { translate: useTranslate, libretranslate: useLibretranslate };
console.log(JSON.stringify(await clients[name]()));
