// Vercel's AI SDK over its provider for compatible servers: whole and streamed, with usage and finish reason.
import assert from "node:assert/strict";
import { generateText, streamText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const [url, name] = process.argv.slice(2);
const provider = createOpenAICompatible({ name: "vitrine", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true });
const options = { model: provider(name), temperature: 0, maxOutputTokens: 8, maxRetries: 0 };
const messages = [{ role: "user", content: [{ type: "text", text: "A fox, please." }] }];

const whole = await generateText({ ...options, messages });
const stream = streamText({ ...options, messages });
let streamed = "";
for await (const piece of stream.textStream) streamed += piece;
assert.equal(streamed, whole.text);
assert.equal(await stream.finishReason, "length");
assert.equal((await stream.usage).outputTokens, 8);
const again = await generateText({ ...options, messages: [...messages, ...(await stream.response).messages, messages[0]] });
assert.ok(again.text);
