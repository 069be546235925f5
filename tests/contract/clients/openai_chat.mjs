// OpenAI's client from npm: chat and completion, streamed too, and errors as its own classes.
import assert from "node:assert/strict";
import OpenAI, { BadRequestError, NotFoundError } from "openai";

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "A fox, please." }];
const options = { model, temperature: 0, max_tokens: 8 };

const whole = await client.chat.completions.create({ ...options, messages });
let streamed = "";
const stream = await client.chat.completions.create({
  ...options, messages, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";
assert.equal(streamed, whole.choices[0].message.content);

const runner = client.chat.completions.stream({ ...options, messages });
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].message.content, streamed);
// What the helper returns goes back as it is.
const again = [...messages, final.choices[0].message, { role: "user", content: "And then?" }];
assert.ok((await client.chat.completions.create({ ...options, messages: again })).choices[0].message.content);

assert.ok((await client.completions.create({ ...options, prompt: "Once" })).choices[0].text);
await assert.rejects(client.completions.create({ ...options, prompt: "Once", model: "gpt-4o" }), NotFoundError);
const long = client.chat.completions.create({ ...options, messages: [{ role: "user", content: "many words ".repeat(3000) }] });
await assert.rejects(long, error => error instanceof BadRequestError && error.code === "context_length_exceeded");
assert.equal((await client.models.list()).data[0].id, model);
