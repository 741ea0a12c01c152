// SPDX-License-Identifier: Apache-2.0
// The OpenAI library as its readme uses it: the key from OPENAI_API_KEY.
import OpenAI from "openai";

const client = new OpenAI();
const ask = { model: "test", messages: [{ role: "user", content: "ping" }] };
const chat = await client.chat.completions.create(ask);
console.log("chat", chat.choices[0].message.content);
let text = "";
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  text += chunk.choices[0].delta.content ?? "";
}
console.log("stream", text);
const response = await client.responses.create({ model: "test", input: "ping" });
console.log("responses", response.output_text);
