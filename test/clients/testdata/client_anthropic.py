# SPDX-License-Identifier: Apache-2.0
# The Anthropic library as its readme uses it: the key from ANTHROPIC_API_KEY.
from anthropic import Anthropic

client = Anthropic()
ask = {"model": "test", "max_tokens": 16, "messages": [{"role": "user", "content": "ping"}]}
print("message", client.messages.create(**ask).content[0].text)
with client.messages.stream(**ask) as stream:
    print("stream", "".join(stream.text_stream))
