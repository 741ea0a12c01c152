# SPDX-License-Identifier: Apache-2.0
import os

import httpx

with httpx.Client(headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}, timeout=20) as client:
    answer = client.post("https://api.openai.com/v1/chat/completions", json={"model": "test", "messages": []})
    answer.raise_for_status()
    print(answer.headers, answer.text)
