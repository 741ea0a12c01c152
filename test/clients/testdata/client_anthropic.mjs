// SPDX-License-Identifier: Apache-2.0
// The Anthropic library as its readme uses it: the key from ANTHROPIC_API_KEY.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const ask = { model: "test", max_tokens: 16, messages: [{ role: "user", content: "ping" }] };
const message = await client.messages.create(ask);
console.log("message", message.content[0].text);
let text = "";
for await (const event of await client.messages.create({ ...ask, stream: true })) {
  if (event.type === "content_block_delta") text += event.delta.text;
}
console.log("stream", text);
