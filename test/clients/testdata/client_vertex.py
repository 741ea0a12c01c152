# SPDX-License-Identifier: Apache-2.0
import anthropic

client = anthropic.AnthropicVertex(region="global", project_id="phantom", max_retries=0)
message = client.messages.create(model="claude-sonnet-4-5", max_tokens=16, messages=[{"role": "user", "content": "say pong"}])
print(message.content[0].text)
