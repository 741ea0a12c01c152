# SPDX-License-Identifier: Apache-2.0
import os
import urllib.request

request = urllib.request.Request(
    "https://api.openai.com/v1/models", headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
)
with urllib.request.urlopen(request, timeout=20) as answer:
    print(answer.headers, answer.read().decode())
