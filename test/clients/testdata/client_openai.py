# SPDX-License-Identifier: Apache-2.0
# The OpenAI library as its readme uses it: the key from OPENAI_API_KEY.
from openai import OpenAI

client = OpenAI()
chat = client.chat.completions.create(model="test", messages=[{"role": "user", "content": "ping"}])
print("chat", chat.choices[0].message.content)
stream = client.chat.completions.create(model="test", messages=[{"role": "user", "content": "ping"}], stream=True)
print("stream", "".join(c.choices[0].delta.content or "" for c in stream))
print("responses", client.responses.create(model="test", input="ping").output_text)
print("models", client.models.list().data[0].id)
