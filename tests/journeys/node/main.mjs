// The `openai` client for Node: `node main.mjs plan.json` plays the journeys and prints what the client saw.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const Weather = z.object({ city: z.string() });
// Where Node's client has another name for a method than Python's, by which journeys are told.
const NAMES = { "images.create_variation": "images.createVariation" };

const bytes = (data) => ({ bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") });
const answer = (thing) => ({ answer: thing, has_request_id: Boolean(thing._request_id) });

function resource(client, name) {
  return name.split(".").slice(0, -1).reduce((found, part) => found[part], client);
}

function call(client, journey, body, extra = {}) {
  const name = NAMES[journey.call] ?? journey.call;
  const owner = resource(client, name);
  const method = owner[name.split(".").at(-1)].bind(owner);
  if (name === "models.list") return method();
  if (name === "models.retrieve") return method(body.model);
  return method({ ...body, ...extra });
}

function file(thing) {
  if (Array.isArray(thing)) return thing.map(file);
  return thing?.$file ? createReadStream(thing.$file) : thing;
}

const fields = (journey) => Object.fromEntries(Object.entries(journey.body).map(([name, each]) => [name, file(each)]));

async function gathered(chunks) {
  const found = [];
  for await (const chunk of chunks) found.push(chunk);
  return found;
}

const manners = {
  plain: async (client, journey) => answer(await call(client, journey, fields(journey))),

  retried: async (client, journey) => {
    const begin = performance.now();
    const found = await manners.plain(client, journey);
    return { ...found, waited: performance.now() - begin >= 1000 };
  },

  stream: async (client, journey) => ({
    chunks: await gathered(await call(client, journey, fields(journey), { stream: true })),
  }),

  raw: async (client, journey) => {
    const { data, response } = await call(client, journey, fields(journey)).withResponse();
    return { status: response.status, headers: Object.fromEntries(response.headers), answer: data };
  },

  helper: async (client, journey) => {
    const kinds = [];
    const stream = resource(client, journey.call).stream(fields(journey));
    if (journey.call.startsWith("responses")) {
      for await (const event of stream) kinds.push(event.type);
      return { kinds, final: await stream.finalResponse() };
    }
    stream.on("content", (delta) => kinds.push(delta));
    return { kinds, content: await stream.finalContent(), final: await stream.finalChatCompletion() };
  },

  parse: async (client, journey) => {
    const owner = resource(client, journey.call);
    if (journey.call.startsWith("responses")) {
      const found = await owner.parse({ ...fields(journey), text: { format: zodTextFormat(Weather, "weather") } });
      return { ...answer(found), parsed: found.output_parsed };
    }
    const format = { response_format: zodResponseFormat(Weather, "weather") };
    const found = await owner.parse({ ...fields(journey), ...format });
    return { ...answer(found), parsed: found.choices[0].message.parsed };
  },

  tools: async (client, journey) => {
    const { model, messages, tools, ...rest } = fields(journey);
    const first = await client.chat.completions.create({ model, messages, tools, ...rest });
    const { message } = first.choices[0];
    const results = message.tool_calls.map(({ id }) => ({
      role: "tool",
      tool_call_id: id,
      content: '{"weather":"mild"}',
    }));
    const told = [...messages, message, ...results];
    const second = await client.chat.completions.create({ model, messages: told, tools });
    return { first: answer(first), second: answer(second) };
  },

  response_tools: async (client, journey) => {
    const { model, input, ...rest } = fields(journey);
    const first = await client.responses.create({ model, input, ...rest });
    const results = first.output
      .filter(({ type }) => type === "function_call")
      .map(({ call_id }) => ({ type: "function_call_output", call_id, output: '{"weather":"mild"}' }));
    const told = [{ role: "user", content: input }, ...first.output, ...results];
    const second = await client.responses.create({ model, input: told, max_output_tokens: 500 });
    return { first: answer(first), second: answer(second) };
  },

  stored: async (client, journey) => {
    const first = await client.responses.create(fields(journey));
    return { first: answer(first), kept: answer(await client.responses.retrieve(first.id)) };
  },

  pages: async (client, journey) => ({ items: await gathered(call(client, journey, fields(journey))) }),

  binary: async (client, journey) => {
    const found = await call(client, journey, fields(journey));
    return { content: bytes(Buffer.from(await found.arrayBuffer())), type: found.headers.get("content-type") };
  },

  binary_stream: async (client, journey) => {
    const found = await call(client, journey, fields(journey));
    return { content: bytes(Buffer.concat(await gathered(found.body))) };
  },

  leave: async (client, journey) => {
    const first = [];
    for await (const chunk of await call(client, journey, fields(journey), { stream: true })) {
      if (first.push(chunk) === 3) break;
    }
    const { metadata, ...body } = fields(journey);
    return { first, next: answer(await call(client, journey, body)) };
  },

  many: async (client, journey) => {
    const one = async (number) => {
      const asked = [{ role: "user", content: `Question ${number}${" more".repeat(number)}` }];
      return answer(await call(client, journey, fields(journey), { messages: asked }));
    };
    return Promise.all([...Array(8).keys()].map(one));
  },
};

function error(raised) {
  if (!(raised instanceof OpenAI.OpenAIError)) console.error(raised);
  const { status, code, param, type, error: body } = raised;
  const carried = { status, code, param, type, body, has_request_id: Boolean(raised.requestID) };
  return { raised: raised.constructor.name, message: raised.message, ...carried };
}

function options({ max_retries, timeout, api_key }) {
  const named = { maxRetries: max_retries, timeout: timeout && timeout * 1000, apiKey: api_key };
  return Object.fromEntries(Object.entries(named).filter(([, each]) => each !== undefined));
}

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const client = new OpenAI({ baseURL: plan.base_url, apiKey: plan.api_key, maxRetries: 0, timeout: 60_000 });
const document = {};
for (const journey of plan.journeys) {
  try {
    document[journey.name] = await manners[journey.how](client.withOptions(options(journey.options)), journey);
  } catch (raised) {
    document[journey.name] = error(raised);
  }
}
process.stdout.write(JSON.stringify(document));
