# SPDX-License-Identifier: Apache-2.0
import os

import requests

with requests.Session() as session:
    session.headers["Authorization"] = "Bearer " + os.environ["OPENAI_API_KEY"]
    for _ in range(2):  # the second over the same connection
        answer = session.get("https://api.openai.com/v1/models", timeout=20)
        answer.raise_for_status()
        print(answer.headers, answer.text)
