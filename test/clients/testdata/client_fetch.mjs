// SPDX-License-Identifier: Apache-2.0
const answer = await fetch("https://api.openai.com/v1/models", {
  headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
});
if (!answer.ok) throw new Error(`status ${answer.status}`);
console.log([...answer.headers], await answer.text());
